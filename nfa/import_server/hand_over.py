"""Jobs without the price of a start: one process has imported everything, and each job is a fork of it.

An interpreter with torch, pandas and scikit-learn takes three seconds of a core to come up, which is more than a small
cell works. So the jobs of one Snakemake on one machine share a process that only imports. The ``nfa`` command of a job
hands it its arguments, folder, environment and open files; a fork does the work and the command ends with its status.
Nothing else changes: a job is a process of its own, with its own log, memory and signals, and the process that imports
never computes, so a fork gives the bits of a fresh start.

The Snakefile names its process in ``NFA_WARM``; the first job on a machine starts the importing process
(``nfa/import_server/server.py``), which ends with that Snakemake. Without the variable, with other threads than one,
off Linux, or when anything here fails, the command does its work itself. Imports little: it is all that most jobs load.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import time
import zlib
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from nfa.jobs import private_folder
from nfa.jobs.exit_codes import KILLED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from subprocess import Popen
    from types import FrameType

VARIABLE = "NFA_WARM"  # process id of the Snakemake whose jobs share a process
VERBS = ("train", "measure", "probe")
LATER = ("aggregate", "publish", "show")  # of one job: they use the process where it is there
STARTED = b"+"  # a fork has taken the job
CONNECT_SECONDS = 10.0


def hand_over(arguments: Sequence[str]) -> int | None:
    """Let a fork of the warm process do a job.

    Args:
        arguments: Of the command, without its name.

    Returns:
        Its exit status; None where the caller is to do the work itself.
    """
    owner = os.environ.get(VARIABLE, "")
    if sys.platform != "linux" or not owner.isdigit() or not _fits(arguments):
        return None
    try:
        connection = _connect(owner, start=arguments[0] in VERBS)
        if connection is None:
            return None
        with connection:
            _send(connection, arguments)
            return _wait(connection)
    except OSError:
        return None  # before a fork took the job: `_wait` has its own ending


def _fits(arguments: Sequence[str]) -> bool:
    """Whether a job is of those that share: the number of threads is settled when torch is imported."""
    threads = [value for name, value in pairwise(arguments) if name == "--threads"]
    return bool(arguments) and arguments[0] in VERBS + LATER and set(threads) <= {"1"}


def _folder(owner: str) -> str:
    """Folder of the socket: one for each user, Snakemake, interpreter and source tree."""
    code = zlib.crc32(f"{sys.executable}\n{__file__}".encode())
    return os.path.join(private_folder.parent(), f"{private_folder.prefix()}{owner}-{code:08x}")


def _connect(owner: str, start: bool) -> socket.socket | None:
    """Connect to the warm process, started if there is none and it may be."""
    folder = _folder(owner)
    if start:
        private_folder.make(folder)
    directory = private_folder.opened(folder)  # or else the command does its work itself
    try:
        started = _started(folder, directory, owner) if start else None
        deadline = time.monotonic() + (CONNECT_SECONDS if start else 0.0)
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(socket_in(directory))
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if time.monotonic() >= deadline or (started is not None and started.poll() is not None):
                    return None
                time.sleep(0.01)
            else:
                return connection
    finally:
        os.close(directory)


def socket_in(directory: int) -> str:
    """Name of the socket in an open folder, whatever has become of the folder's own name."""
    return f"/proc/self/fd/{directory}/{private_folder.SOCKET}"


def _started(folder: str, directory: int, owner: str) -> Popen[bytes] | None:
    """Start the warm process; None where one is there, or about to be."""
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(private_folder.LOCK, flags, 0o600, dir_fd=directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.stat(private_folder.LOCK, dir_fd=directory), os.fstat(lock)):
            return None  # another process has removed it since, and made a new one
        os.truncate(lock, 0)
        os.write(lock, (private_folder.begun(int(owner)) or "gone").encode())
    except BlockingIOError:
        return None
    else:
        return _start(folder, directory, owner, lock)  # it keeps the lock as long as it lives
    finally:
        os.close(lock)


def _start(folder: str, directory: int, owner: str, lock: int) -> Popen[bytes]:
    """Start the process that imports, in this process group, so that what stops all jobs stops it."""
    from subprocess import DEVNULL, Popen

    with suppress(FileNotFoundError):
        os.unlink(private_folder.SOCKET, dir_fd=directory)  # of a dead one
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    return Popen(
        [sys.executable, "-P", "-m", "nfa.import_server.server", folder, str(directory), owner, str(lock)],
        env={**os.environ, **threads},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
        pass_fds=(directory, lock),
    )


def _send(connection: socket.socket, arguments: Sequence[str]) -> None:
    """Send a job: the three open files with the length of the rest, then where and how it is to run."""
    job = {"arguments": [sys.argv[0], *arguments], "folder": os.getcwd(), "path": sys.path, "environ": dict(os.environ)}
    content = json.dumps(job).encode()
    socket.send_fds(connection, [len(content).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(content)


def _wait(connection: socket.socket) -> int | None:
    """Wait for a fork to take the job, and to end; pass SIGTERM on to it."""

    def forward(signum: int, frame: FrameType | None) -> None:
        with suppress(OSError):  # the warm process is gone, and `recv` tells
            connection.send(bytes([signum]))

    signal.signal(signal.SIGTERM, forward)
    begun = False
    try:
        begun = connection.recv(1) == STARTED
    finally:
        if not begun:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not begun:
        return None
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the keyboard it reaches the fork by itself
    try:
        status = connection.recv(1)
    except OSError:
        status = b""
    return status[0] if status else KILLED
