"""Write files and folders so that a killed process leaves the old one or the new one, never half of one."""

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it takes its place at once, on an exception it is removed.

    What a killed process left of an earlier attempt goes first. A file has one writer at a time: stages hold locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=f".tmp{path.suffix}")
    except OSError as error:
        error.filename = str(path)
        raise
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; results are for the group, as the umask says.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            # A full disk is told of without a name, by pyarrow in its own words; and nobody knows the temporary file.
            error.filename, error.strerror = str(path), os.strerror(error.errno)
        raise


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Give a temporary folder for whoever writes ``path`` through files of their own, whose names nobody can tell.

    It is removed at the end; what a killed process left of it, by the next attempt to write ``path``.
    """
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=f".tmp{path.suffix}"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file, if it is there, and what a killed process left of attempts to write it."""
    path.unlink(missing_ok=True)
    _remove_leftovers(path)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files and folders of earlier attempts to write ``path``."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp{path.suffix}"):
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink(missing_ok=True)


def _umask() -> int:
    """Read the process's umask (which can only be read by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
