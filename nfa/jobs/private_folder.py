"""Folders of this user's own among everybody's temporary files: no link is followed, and left ones are removed.

Three kinds of process use them: the command of a job, the process that imports for all jobs, and the fork that
publishes (``nfa/import_server/hand_over.py``, ``nfa/import_server/server.py``, ``nfa/jobs/temporary_folder.py``). A
lock is held on each folder as long as it is in use, and the operating system gives a lock back however its process
ends. Imports little: most jobs load it.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK, SOCKET = "lock", "socket"
WORK = "work"  # in the name of a folder for temporary files
YOUNG_SECONDS = 60.0  # a folder so young may not have its lock yet


def parent() -> str:
    """The folder of everybody's temporary files."""
    return os.environ.get("TMPDIR", "/tmp")


def prefix() -> str:
    """How the names of all folders of this user begin."""
    return f"nfa-{os.getuid()}-"


def opened(folder: str) -> int:
    """Open a folder, which must be this user's, closed to others, and no link.

    Returns:
        Its descriptor: whatever is done below it stays in this very folder.

    Raises:
        OSError: It is not there, or not as it must be.
    """
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(directory)
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(directory)
        raise PermissionError(f"{folder}: belongs to another user, or is open to others")
    return directory


def make(folder: str) -> None:
    """Make a folder where there is none; ``opened`` finds out whether it is as it must be."""
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)


def emptied(folder: str, directory: int) -> None:
    """Remove the socket, the lock and the folder; one that holds anything else stays."""
    for name in (SOCKET, LOCK):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
    os.rmdir(folder)  # of a link it is an error


def begun(process: int) -> str | None:
    """When a process began, in the system's ticks; None where there is none of this id.

    With its id it names a process for good: an id alone is given again.
    """
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def remove_leftovers() -> None:
    """Remove this user's folders whose processes were killed: no lock is held, and the owner is gone."""
    name_of_one = re.compile(re.escape(prefix()) + rf"(?:(?P<owner>\d+)-[0-9a-f]{{8}}|{WORK}-\w+)")
    with suppress(OSError):
        for name in os.listdir(parent()):
            match = name_of_one.fullmatch(name)
            if match is None:
                continue
            folder = os.path.join(parent(), name)
            with suppress(OSError), _held(folder) as directory:
                if match["owner"] is None:
                    _remove_work(folder, directory)
                else:
                    _remove_meeting_place(folder, directory, match["owner"])


@contextmanager
def _held(folder: str) -> Iterator[int]:
    """Open a folder for the body, unless it is somebody else's or a link."""
    directory = opened(folder)
    try:
        yield directory
    finally:
        os.close(directory)


def _remove_work(folder: str, directory: int) -> None:
    """Remove a folder of temporary files that nobody holds."""
    from shutil import rmtree

    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if time.time() - os.fstat(directory).st_mtime > YOUNG_SECONDS:
        rmtree(folder, ignore_errors=True)  # follows no link


def _remove_meeting_place(folder: str, directory: int, owner: str) -> None:
    """Remove a folder of socket and lock that no process holds and whose Snakemake is gone."""
    noted, age = "", time.time() - os.fstat(directory).st_mtime
    with suppress(FileNotFoundError):
        lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            noted = os.read(lock, 64).decode("ascii", "replace")
            if not _in_use(int(owner), noted, age):
                emptied(folder, directory)
        finally:
            os.close(lock)
        return
    if not _in_use(int(owner), noted, age):
        emptied(folder, directory)


def _in_use(owner: int, noted: str, age: float) -> bool:
    """Whether a folder's Snakemake is alive, or its job is about to note which one it is."""
    if noted:
        return begun(owner) == noted
    return age < YOUNG_SECONDS and begun(owner) is not None
