"""Two things at once: work that leaves nothing but files, in a fork of this process."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Do ``work`` in a fork while the body runs; it is done when the body is left.

    The work must bear being done twice: where the fork fails, it is done again here, so that its error is seen as it
    is. Off Linux (where libraries do not bear a fork) it is done before the body.
    """
    if sys.platform != "linux":
        work()
        yield
        return
    process = multiprocessing.get_context("fork").Process(target=_quietly, args=(work,))
    process.start()
    try:
        yield
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()
    if process.exitcode:
        work()


def _quietly(work: Callable[[], None]) -> None:
    """Say by the exit code alone that something went wrong."""
    try:
        work()
    except BaseException:
        sys.exit(1)
