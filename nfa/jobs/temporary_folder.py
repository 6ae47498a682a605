"""Temporary files of a fork: libraries remove theirs where an interpreter ends, which a fork does not come to."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from nfa.jobs.private_folder import WORK, opened, prefix


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Put the body's temporary files into a folder that is removed when the body is left; where there can be one.

    A lock on the folder tells others that it is in use; where this process is killed, the next one removes the folder.
    """
    before = tempfile.tempdir
    try:
        folder = tempfile.mkdtemp(prefix=f"{prefix()}{WORK}-")
        directory = opened(folder)
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a full disk: whether that matters, the body finds out
        yield
        return
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)
        os.close(directory)
