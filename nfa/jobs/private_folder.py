"""Folders that belong to this user alone, among the temporary files of all users.

Three kinds of process use them: the command of a job (``nfa/import_server/hand_over.py``), the import server
(``nfa/import_server/server.py``), and the fork that publishes (``nfa/jobs/temporary_folder.py``). Symbolic links are
not followed, so that other users cannot redirect what is written or removed. A lock is held on each folder as long as
it is in use. The operating system releases the lock however its process ends, so a folder without a lock was left by a
killed process and is removed. The module imports little, because most jobs load it.
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
WORK = "work"  # part of the names of folders for temporary files
YOUNG_SECONDS = 60.0  # a folder younger than this may not have its lock yet


def temporary_root() -> str:
    """Return the folder for the temporary files of all users."""
    return os.environ.get("TMPDIR", "/tmp")


def name_prefix() -> str:
    """Return the beginning of the names of this user's folders."""
    return f"nfa-{os.getuid()}-"


def open_private(folder: str) -> int:
    """Open a folder, which must belong to this user, be closed to others, and not be a link.

    Returns:
        Its file descriptor: operations relative to it stay in this very folder.

    Raises:
        OSError: The folder is missing, or is not as it must be.
    """
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(directory)
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(directory)
        raise PermissionError(f"{folder}: belongs to another user, or is open to others")
    return directory


def make_private(folder: str) -> None:
    """Make a folder if there is none; ``open_private`` checks it."""
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)


def remove_private(folder: str, directory: int) -> None:
    """Remove the socket, the lock and the folder; a folder that holds anything else stays."""
    for name in (SOCKET, LOCK):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
    os.rmdir(folder)  # raises an error for a link


def start_time(process: int) -> str | None:
    """Return the time when a process started, in ticks of the system; None if no process has this id.

    Id and start time together identify a process for good, while an id alone is given to later processes too.
    """
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def remove_leftovers() -> None:
    """Remove the folders of killed processes: folders of this user without a lock, whose Snakemake is gone."""
    folder_name = re.compile(re.escape(name_prefix()) + rf"(?:(?P<owner>\d+)-[0-9a-f]{{8}}|{WORK}-\w+)")
    with suppress(OSError):
        for name in os.listdir(temporary_root()):
            match = folder_name.fullmatch(name)
            if match is None:
                continue
            folder = os.path.join(temporary_root(), name)
            with suppress(OSError), _opened(folder) as directory:
                if match["owner"] is None:
                    _remove_work(folder, directory)
                else:
                    _remove_server_folder(folder, directory, match["owner"])


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    """Open a folder for the body.

    Raises:
        OSError: The folder belongs to somebody else, or is a link.
    """
    directory = open_private(folder)
    try:
        yield directory
    finally:
        os.close(directory)


def _remove_work(folder: str, directory: int) -> None:
    """Remove a folder of temporary files that no process has locked."""
    from shutil import rmtree

    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if time.time() - os.fstat(directory).st_mtime > YOUNG_SECONDS:
        rmtree(folder, ignore_errors=True)  # follows no link


def _remove_server_folder(folder: str, directory: int, owner: str) -> None:
    """Remove the folder of an import server that is gone, as its Snakemake is."""
    noted, age = "", time.time() - os.fstat(directory).st_mtime
    with suppress(FileNotFoundError):
        lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            noted = os.read(lock, 64).decode("ascii", "replace")
            if not _in_use(int(owner), noted, age):
                remove_private(folder, directory)
        finally:
            os.close(lock)
        return
    if not _in_use(int(owner), noted, age):
        remove_private(folder, directory)


def _in_use(owner: int, noted: str, age: float) -> bool:
    """Return True if the Snakemake of a folder is alive, or a job is about to note which Snakemake it is."""
    if noted:
        return start_time(owner) == noted
    return age < YOUNG_SECONDS and start_time(owner) is not None
