"""The process that has imported everything, of which each job is a fork (``hand_over.py`` says why)."""

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

from nfa.import_server.hand_over import STARTED, socket_in
from nfa.jobs.exit_codes import INTERRUPTED
from nfa.jobs.private_folder import emptied, remove_leftovers

BACKLOG = 128
STOPPING = (signal.SIGINT, signal.SIGTERM)  # meant for the jobs, also where all of a Snakemake's processes get them
# Beside a verb's own module: what its command imports as it goes.
ALSO = ("nfa.cli.main", "nfa.jobs.environment", "nfa.storage.documents", "nfa.tracking.follower", "nfa.jobs.memory")


def serve(folder: str, directory: int, owner: int, lock: int) -> None:
    """Fork a process for each job that is handed over, as long as the Snakemake with process id ``owner`` lives.

    Args:
        folder: Where the socket is to be.
        directory: Its descriptor.
        owner: Process id of the Snakemake.
        lock: Descriptor of the locked file that says that there is such a process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # a fork finds what came before it could heed it
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
                    break  # forks under way work on, as jobs of a dead Snakemake do
                for one in ready:
                    if one is listener:
                        forks.begin(listener)
                    else:
                        forks.attend(one)
    finally:
        emptied(folder, directory)


class _Forks:
    """The jobs under way: each a fork, and the connection of the command that waits for it."""

    def __init__(self, *ours: int) -> None:
        self.ours = ours  # open files that no fork is to have
        self.commands: dict[socket.socket, int] = {}  # -> process id
        self.forks: dict[int, tuple[int, socket.socket]] = {}  # descriptor of the process -> id, command

    def watched(self) -> list[Any]:
        """What may become readable: a command that sends a signal or is gone, a fork that has ended."""
        return [*self.commands, *self.forks]

    def begin(self, listener: socket.socket) -> None:
        """Take a job and fork."""
        command, _ = listener.accept()
        files: list[int] = []
        try:
            job = _receive(command, files)
            _prepare(job["arguments"][1])
            fork: int | None = os.fork()
        except (OSError, ValueError):  # it is gone; or there can be no more processes, and it does its work itself
            fork = None
        if fork == 0:
            listener.close()
            for file in self.ours:
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


def _receive(connection: socket.socket, files: list[int]) -> dict[str, Any]:
    """Receive what ``_send`` sent; its open files are added to ``files``."""
    size = array.array("i").itemsize
    head, ancillary, *_ = connection.recvmsg(8, socket.CMSG_LEN(3 * size))
    files += array.array("i", ancillary[0][2] if ancillary else b"").tolist()
    with connection.makefile("rb") as stream:
        return dict(json.loads(stream.read(int.from_bytes(head, "big"))))


def _prepare(verb: str) -> None:
    """Import what a verb of many jobs needs, before the fork: once for all of them. Other verbs import in theirs."""
    import gc
    from importlib import import_module

    stage = f"nfa.stages.{verb}"
    if verb not in import_module("nfa.sweep.cells").STAGES or stage in sys.modules:
        return
    with suppress(Exception):  # the fork will meet it again, and say it
        for name in (*ALSO, stage):
            import_module(name)
        import_module("nfa.cli.main").command_parser()  # remembered
        import_module("torch._dynamo")  # a second, by the first torch.optim.Optimizer of a process
        import_module("nfa.jobs.environment").set_threads(1)
        import_module("nfa.jobs.environment").provenance()  # remembered
        gc.collect()
        gc.freeze()  # keeps forks from copying what they only look at


def _work(job: dict[str, Any], files: list[int]) -> None:
    """Do a job, in a fork, and leave with its status."""
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

        with own_temporary_folder() if sys.argv[1] == "publish" else nullcontext():  # the others leave nothing
            status = run(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except KeyboardInterrupt:  # before the command could say so
        status = INTERRUPTED
    except BaseException:
        from traceback import print_exc

        print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1], *map(int, sys.argv[2:]))
