"""Temporary files of a fork: libraries remove theirs where an interpreter ends, which a fork does not come to."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Put the body's temporary files into a folder that is removed when the body is left."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="nfa-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before
