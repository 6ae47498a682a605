"""A folder for the temporary files of a fork.

Libraries remove their temporary files when the interpreter ends, but a fork ends without that.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from nfa.jobs.private_folder import WORK, name_prefix, open_private


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Put the temporary files of the body into a folder of their own, which is removed at the end.

    A lock on the folder shows that it is in use. If this process is killed, the next import server removes the folder.
    Where the folder cannot be made, the body runs without it.
    """
    before = tempfile.tempdir
    try:
        folder = tempfile.mkdtemp(prefix=f"{name_prefix()}{WORK}-")
        directory = open_private(folder)
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # the disk is full; the body finds out if that matters
        yield
        return
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)
        os.close(directory)
