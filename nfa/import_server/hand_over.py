"""The command's side of the import server: hand a job over to a fork of it, and wait for the fork to end.

Nothing changes for a job but its start: it is a process of its own, with its own log, memory and signals. The server
imports and never computes, so a fork gives the same bits as a fresh process.

The Snakefile names its process in the variable ``NFA_IMPORT_SERVER``. The first job on a machine starts the server
(``nfa/import_server/server.py``), which ends with that Snakemake. Without the variable, with more than one thread, on
systems other than Linux, or when anything here fails, the command does its work itself. This module imports little,
because it is all that most commands load.
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

VARIABLE = "NFA_IMPORT_SERVER"  # environment variable: process id of the Snakemake whose jobs share a server
STARTING = ("tune", "train", "measure", "probe")  # verbs of many jobs, which start the server
USING = ("aggregate", "publish", "show")  # verbs of one job each, which use the server if it is there
STARTED = b"+"  # answer of the server: a fork has taken the job
CONNECT_SECONDS = 10.0


def hand_over(arguments: Sequence[str]) -> int | None:
    """Let a fork of the import server do a job.

    Args:
        arguments: Arguments of the command, without its name.

    Returns:
        The exit status of the job; None where the caller must do the work itself.
    """
    owner = os.environ.get(VARIABLE, "")
    if sys.platform != "linux" or not owner.isdigit() or not _fits(arguments):
        return None
    try:
        connection = _connect(owner, start=arguments[0] in STARTING)
        if connection is None:
            return None
        with connection:
            _send(connection, arguments)
            return _wait(connection)
    except OSError:
        return None  # no fork has taken the job; `_wait` handles the errors after that


def _fits(arguments: Sequence[str]) -> bool:
    """Return True if a fork can do a job: the number of threads is fixed when torch is imported."""
    threads = [value for name, value in pairwise(arguments) if name == "--threads"]
    return bool(arguments) and arguments[0] in STARTING + USING and set(threads) <= {"1"}


def _folder(owner: str) -> str:
    """Return the folder of the socket: one for each user, Snakemake, interpreter and source tree."""
    code = zlib.crc32(f"{sys.executable}\n{__file__}".encode())
    return os.path.join(private_folder.temporary_root(), f"{private_folder.name_prefix()}{owner}-{code:08x}")


def _connect(owner: str, start: bool) -> socket.socket | None:
    """Connect to the server; if ``start`` is true and there is none, start it. Return None if there is none."""
    folder = _folder(owner)
    if start:
        private_folder.make_private(folder)
    directory = private_folder.open_private(folder)  # on an error the command does its work itself
    try:
        process = _start_once(folder, directory, owner) if start else None
        deadline = time.monotonic() + (CONNECT_SECONDS if start else 0.0)
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(socket_in(directory))
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if time.monotonic() >= deadline or (process is not None and process.poll() is not None):
                    return None
                time.sleep(0.01)
            else:
                return connection
    finally:
        os.close(directory)


def socket_in(directory: int) -> str:
    """Return the path of the socket in an open folder, which holds even if the folder has been renamed."""
    return f"/proc/self/fd/{directory}/{private_folder.SOCKET}"


def _start_once(folder: str, directory: int, owner: str) -> Popen[bytes] | None:
    """Start the server under its lock; return None if there is one, or another job is starting it."""
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(private_folder.LOCK, flags, 0o600, dir_fd=directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.stat(private_folder.LOCK, dir_fd=directory), os.fstat(lock)):
            return None  # another process has removed this lock since, and made a new one
        os.truncate(lock, 0)
        os.write(lock, (private_folder.start_time(int(owner)) or "gone").encode())
    except BlockingIOError:
        return None
    else:
        return _start(folder, directory, owner, lock)  # the server keeps the lock as long as it lives
    finally:
        os.close(lock)


def _start(folder: str, directory: int, owner: str, lock: int) -> Popen[bytes]:
    """Start the server in this process group, so that a signal to all jobs stops it too."""
    from subprocess import DEVNULL, Popen

    with suppress(FileNotFoundError):
        os.unlink(private_folder.SOCKET, dir_fd=directory)  # left by a killed server
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
    """Send a job: its three open files with the length of the message, then arguments, folder and environment."""
    job = {"arguments": [sys.argv[0], *arguments], "folder": os.getcwd(), "path": sys.path, "environ": dict(os.environ)}
    content = json.dumps(job).encode()
    socket.send_fds(connection, [len(content).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(content)


def _wait(connection: socket.socket) -> int | None:
    """Wait for a fork to take the job and to end, and pass SIGTERM on to it; return None if no fork took the job."""

    def forward(signum: int, frame: FrameType | None) -> None:
        with suppress(OSError):  # the server is gone, which `recv` reports
            connection.send(bytes([signum]))

    signal.signal(signal.SIGTERM, forward)
    taken = False
    try:
        taken = connection.recv(1) == STARTED
    finally:
        if not taken:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not taken:
        return None
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the fork directly
    try:
        status = connection.recv(1)
    except OSError:
        status = b""
    return status[0] if status else KILLED
