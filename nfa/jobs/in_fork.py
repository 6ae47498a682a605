"""Two things at once: work that leaves nothing but files, in a fork of this process."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Do ``work`` in a fork while the body runs; it is done when the body is left.

    The work must bear being done twice: where the fork fails, it is done again here, so that its error is seen as it
    is (or it does nothing where its process is not a fork). The fork ends with this process, however that ends: what is
    begun anew after a kill is the only writer. Off Linux (where libraries do not bear a fork) the work is done before
    the body.
    """
    if sys.platform != "linux":
        work()
        yield
        return
    process = multiprocessing.get_context("fork").Process(target=_quietly, args=(work, os.getpid()))
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


def _quietly(work: Callable[[], None], parent: int) -> None:
    """Say by the exit code alone that something went wrong."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        sys.exit(1)
    try:
        work()
    except BaseException:
        sys.exit(1)
