"""Writing files so that a killed process leaves the old file or the new file, never a part of one."""

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; on success rename it to ``path``, on error remove it.

    Temporary files that a killed process left are removed first. A file must have one writer at a time, so stages hold
    locks.
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
        # mkstemp makes files private, but results get the permissions of the umask.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            # The error of a full disk names no file, or the temporary one, and pyarrow has a wording of its own.
            error.filename, error.strerror = str(path), os.strerror(error.errno)
        raise


@contextmanager
def temporary_folder_for(path: Path) -> Iterator[Path]:
    """Give a temporary folder in the folder of ``path``, for libraries that write files of names that cannot be known.

    The folder is removed at the end; if the process is killed, by the next attempt to write ``path``.
    """
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=f".tmp{path.suffix}"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file, if there is one, and the temporary files of killed attempts to write it."""
    path.unlink(missing_ok=True)
    _remove_leftovers(path)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files and folders of earlier attempts to write ``path``."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp{path.suffix}"):
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink(missing_ok=True)


def _umask() -> int:
    """Return the umask of the process, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
