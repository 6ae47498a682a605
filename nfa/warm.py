"""Jobs without the price of a start: one process has imported everything, and each job is a fork of it.

An interpreter with torch, pandas and scikit-learn takes three seconds of a core to come up, which is more than a small
cell works. So the jobs of one Snakemake on one machine share a process that only imports. The ``nfa`` command of a job
hands it its arguments, folder, environment and open files; a fork does the work and the command ends with its status.
Nothing else changes: a job is a process of its own, with its own log, memory and signals, and the process that imports
never computes, so a fork gives the bits of a fresh start.

The Snakefile names its process in ``NFA_WARM``; the first job on a machine starts the importing process, which ends
with that Snakemake. Without the variable, with other threads than one, off Linux, or when anything here fails, the
command does its work itself. Imports little: it is all that most jobs load.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from types import FrameType
from typing import Any

VARIABLE = "NFA_WARM"  # process id of the Snakemake whose jobs share a process
VERBS = ("train", "measure", "probe", "aggregate")
STARTED = b"+"  # a fork has taken the job
KILLED = 128 + signal.SIGKILL  # exit status where the warm process was killed
CONNECT_SECONDS = 10.0
BACKLOG = 128


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
        connection = _connect(owner)
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
    return bool(arguments) and arguments[0] in VERBS and set(threads) <= {"1"}


def _folder(owner: str) -> str:
    """Folder of the socket: one for each user, Snakemake, interpreter and source tree."""
    code = zlib.crc32(f"{sys.executable}\n{__file__}".encode())
    return os.path.join(os.environ.get("TMPDIR", "/tmp"), f"nfa-{os.getuid()}-{owner}-{code:08x}")


def _connect(owner: str) -> socket.socket | None:
    """Connect to the warm process, started if there is none."""
    folder = _folder(owner)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    status = os.stat(folder)
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        return None  # somebody else's
    lock = os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_RDWR, 0o600)
    started = None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass  # one is there, or about to be
    else:
        started = _start(folder, owner, lock)  # it keeps the lock as long as it lives
    finally:
        os.close(lock)
    deadline = time.monotonic() + CONNECT_SECONDS
    while time.monotonic() < deadline:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(os.path.join(folder, "socket"))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if started is not None and started.poll() is not None:
                return None
            time.sleep(0.01)
        else:
            return connection
    return None


def _start(folder: str, owner: str, lock: int) -> subprocess.Popen[bytes]:
    """Start the process that imports, in this process group, so that what stops all jobs stops it."""
    path = os.path.join(folder, "socket")
    if os.path.exists(path):
        os.unlink(path)  # of a dead one
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "nfa.warm", folder, owner, str(lock)],
        env={**os.environ, **threads},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock,),
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
        connection.send(bytes([signum]))

    # An interrupt from the keyboard reaches the fork by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, forward)
    if connection.recv(1) != STARTED:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return None
    try:
        status = connection.recv(1)
    except OSError:
        status = b""
    return status[0] if status else KILLED


def serve(folder: str, owner: int, lock: int) -> None:
    """Fork a process for each job that is handed over, as long as the Snakemake with process id ``owner`` lives.

    ``lock`` is the descriptor of the locked file that says that there is such a process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = os.pidfd_open(owner)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.path.join(folder, "socket"))
        listener.listen(BACKLOG)
        forks = _Forks(lock)
        while True:
            ready = select.select([listener, ended, *forks.watched()], [], [])[0]
            if ended in ready:
                break  # forks under way work on, as jobs of a dead Snakemake do
            for one in ready:
                if one is listener:
                    forks.begin(listener)
                else:
                    forks.attend(one)
    for name in ("socket", "lock"):
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)


class _Forks:
    """The jobs under way: each a fork, and the connection of the command that waits for it."""

    def __init__(self, lock: int) -> None:
        self.lock = lock
        self.commands: dict[socket.socket, int] = {}  # -> process id
        self.forks: dict[int, tuple[int, socket.socket]] = {}  # descriptor of the process -> id, command

    def watched(self) -> list[Any]:
        """What may become readable: a command that sends a signal or is gone, a fork that has ended."""
        return [*self.commands, *self.forks]

    def begin(self, listener: socket.socket) -> None:
        """Take a job and fork."""
        command, _ = listener.accept()
        try:
            job, files = _receive(command)
        except (OSError, ValueError):  # it is gone
            command.close()
            return
        _prepare(job["arguments"][1])
        fork = os.fork()
        if fork == 0:
            listener.close()
            os.close(self.lock)
            for other in (command, *self.commands):
                other.close()
            _work(job, files)
        for file in files:
            os.close(file)
        self.commands[command] = fork
        self.forks[os.pidfd_open(fork)] = fork, command
        self._say(command, STARTED)

    def attend(self, one: Any) -> None:
        """Tell a command how its fork ended, or a fork what its command was told."""
        if one in self.forks:
            fork, command = self.forks.pop(one)
            os.close(one)
            status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
            self._say(command, bytes([status if status >= 0 else 128 - status]))
            self.commands.pop(command, None)
            command.close()
        elif one in self.commands:
            try:
                told = one.recv(1)
            except OSError:
                told = b""
            os.kill(self.commands[one], told[0] if told else signal.SIGTERM)
            if not told:
                del self.commands[one]  # it is gone, and its work stops

    @staticmethod
    def _say(command: socket.socket, word: bytes) -> None:
        with suppress(OSError):  # it is gone
            command.send(word)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive what ``_send`` sent."""
    size = array.array("i").itemsize
    head, ancillary, *_ = connection.recvmsg(8, socket.CMSG_LEN(3 * size))
    files = array.array("i", ancillary[0][2] if ancillary else b"").tolist()
    with connection.makefile("rb") as stream:
        return json.loads(stream.read(int.from_bytes(head, "big"))), files


def _prepare(verb: str) -> None:
    """Import what a verb needs, before the fork: once for all of its jobs."""
    import gc
    from importlib import import_module

    with suppress(Exception):  # the fork will meet it again, and say it
        if f"nfa.stages.{verb}" not in sys.modules:
            import_module("nfa.cli")
            import_module(f"nfa.stages.{verb}")
            if verb != "aggregate":
                import_module("torch._dynamo")  # a second, by the first torch.optim.Optimizer of a process
                import_module("nfa.stages.environment").set_threads(1)
            import_module("nfa.stages.environment").provenance()  # remembered
            gc.collect()
            gc.freeze()  # keeps forks from copying what they only look at


def _work(job: dict[str, Any], files: list[int]) -> None:
    """Do a job, in a fork, and leave with its status."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, file in enumerate(files):
            os.dup2(file, target)
            os.close(file)
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environ"])
        sys.argv, sys.path = job["arguments"], job["path"]
        from nfa.cli import run

        status = run(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException:
        from traceback import print_exc

        print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1], *map(int, sys.argv[2:]))
