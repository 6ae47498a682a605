"""Temporary files of a fork: libraries remove theirs where an interpreter ends, which a fork does not come to."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Put the body's temporary files into a folder that is removed when the body is left; where there can be one."""
    before = tempfile.tempdir
    try:
        folder = tempfile.mkdtemp(prefix="nfa-")
    except OSError:  # a full disk: whether that matters, the body finds out
        yield
        return
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)
