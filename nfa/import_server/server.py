"""The import server itself: it imports all modules that jobs need, and forks a process for each job.

The server is one loop over ``select``: a command connects and sends a job, the server imports what the job's verb needs
and forks; a command that received SIGTERM sends the number of the signal, which is passed on to its fork; when a fork
ends, its command is sent the exit status. If a command is gone, its fork is told to stop. The server ends with its
Snakemake. ``hand_over.py`` is the other side.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import sys
from contextlib import nullcontext, suppress
from typing import Any

from nfa.import_server.hand_over import STARTED, STARTING, socket_in
from nfa.jobs.exit_codes import INTERRUPTED
from nfa.jobs.private_folder import remove_leftovers, remove_private

BACKLOG = 128
STOPPING = (signal.SIGINT, signal.SIGTERM)  # meant for the jobs, even if all processes of a Snakemake receive them
# Modules that a command imports in addition to the module of its stage.
ALSO = ("nfa.cli.main", "nfa.jobs.environment", "nfa.storage.documents", "nfa.tracking.follower", "nfa.jobs.memory")


def serve(folder: str, directory: int, owner: int, lock: int) -> None:
    """Fork a process for each job that arrives, as long as the Snakemake with process id ``owner`` lives.

    Args:
        folder: Folder for the socket.
        directory: File descriptor of the folder.
        owner: Process id of the Snakemake.
        lock: File descriptor of the locked file that shows that this server exists.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # a fork receives a signal that came too early
    try:
        ended = os.pidfd_open(owner)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(socket_in(directory))
            listener.listen(BACKLOG)
            remove_leftovers()
            forks = _Forks(lock, directory)
            while True:
                ready = select.select([listener, ended, *forks.watched()], [], [])[0]
                if ended in ready:
                    break  # running forks go on, as the jobs of a killed Snakemake do
                for source in ready:
                    if source is listener:
                        forks.begin(listener)
                    else:
                        forks.attend(source)
    finally:
        remove_private(folder, directory)


class _Forks:
    """The running jobs: for each a fork, and the connection to the command that waits for it."""

    def __init__(self, *server_files: int) -> None:
        self.server_files = server_files  # file descriptors that a fork must close
        self.commands: dict[socket.socket, int] = {}  # connection -> process id of the fork
        self.forks: dict[int, tuple[int, socket.socket]] = {}  # descriptor of a fork -> its process id, connection

    def watched(self) -> list[Any]:
        """Return all sources of events: commands, which send a signal or close, and forks, which end."""
        return [*self.commands, *self.forks]

    def begin(self, listener: socket.socket) -> None:
        """Receive a job and fork a process for it."""
        command, _ = listener.accept()
        files: list[int] = []
        try:
            job = _receive(command, files)
            _prepare(job["arguments"][1])
            fork: int | None = os.fork()
        except (
            OSError,
            ValueError,
        ):  # the command is gone, or no process can be made: the command does its work itself
            fork = None
        if fork == 0:
            listener.close()
            for file in self.server_files:
                os.close(file)
            for other in (command, *self.commands):
                other.close()
            _work(job, files)
        for file in files:
            os.close(file)
        if fork is None:
            command.close()
            return
        self.commands[command] = fork
        self.forks[os.pidfd_open(fork)] = fork, command
        self._send(command, STARTED)

    def attend(self, source: Any) -> None:
        """Handle an event: report the end of a fork to its command, or pass a signal of a command on to its fork."""
        if source in self.forks:
            fork, command = self.forks.pop(source)
            os.close(source)
            status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
            self._send(command, bytes([status if status >= 0 else 128 - status]))
            self.commands.pop(command, None)
            command.close()
        elif source in self.commands:
            try:
                number = source.recv(1)
            except OSError:
                number = b""
            os.kill(self.commands[source], number[0] if number else signal.SIGTERM)
            if not number:
                del self.commands[source]  # the command is gone, so its fork was told to stop

    @staticmethod
    def _send(command: socket.socket, word: bytes) -> None:
        with suppress(OSError):  # the command is gone
            command.send(word)


def _receive(connection: socket.socket, files: list[int]) -> dict[str, Any]:
    """Receive a job; its open files are added to ``files``."""
    size = array.array("i").itemsize
    head, ancillary, *_ = connection.recvmsg(8, socket.CMSG_LEN(3 * size))
    files += array.array("i", ancillary[0][2] if ancillary else b"").tolist()
    with connection.makefile("rb") as stream:
        return dict(json.loads(stream.read(int.from_bytes(head, "big"))))


def _prepare(verb: str) -> None:
    """Import the modules of a verb with many jobs before forking, once for all jobs. Other verbs import in the fork."""
    import gc
    from importlib import import_module

    stage = f"nfa.stages.{verb}"
    if verb not in STARTING or stage in sys.modules:
        return
    with suppress(Exception):  # the fork meets the same error, and reports it
        for name in (*ALSO, stage):
            import_module(name)
        import_module("nfa.cli.main").command_parser()  # cached
        import_module("torch._dynamo")  # takes a second, and the first torch.optim.Optimizer of a process imports it
        import_module("nfa.jobs.environment").set_threads(1)
        import_module("nfa.jobs.environment").provenance()  # cached
        gc.collect()
        gc.freeze()  # so that the garbage collector of a fork does not touch, and so copy, shared memory


def _work(job: dict[str, Any], files: list[int]) -> None:
    """Do a job in a fork, and exit with its status."""
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        for target, file in enumerate(files):
            os.dup2(file, target)
            os.close(file)
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environ"])
        sys.argv, sys.path = job["arguments"], job["path"]
        from nfa.cli.main import run
        from nfa.jobs.temporary_folder import own_temporary_folder

        with own_temporary_folder() if sys.argv[1] == "publish" else nullcontext():  # others leave no files
            status = run(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except KeyboardInterrupt:  # before the command handles it
        status = INTERRUPTED
    except BaseException:
        from traceback import print_exc

        print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1], *map(int, sys.argv[2:]))
