"""Work that only writes files, done in a fork of this process while the process goes on."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


@contextmanager
def running_in_fork(work: Callable[[], None]) -> Iterator[None]:
    """Do ``work`` in a fork while the body of the ``with`` statement runs; when the body is left, the work is done.

    Doing the work twice must be harmless: if the fork fails, the work is done again in this process, so that its error
    is raised here unchanged. The fork ends with this process, however that ends, so that after a kill a new attempt is
    the only writer. On systems other than Linux, where libraries do not survive a fork, the work is done before the
    body.
    """
    if sys.platform != "linux":
        work()
        yield
        return
    process = multiprocessing.get_context("fork").Process(target=_work_quietly, args=(work, os.getpid()))
    process.start()
    try:
        yield
    except BaseException:
        process.kill()  # SIGTERM would only be noted by the handler that a stage sets for preemption, and forks inherit
        raise
    finally:
        process.join()
    if process.exitcode:
        work()


def _work_quietly(work: Callable[[], None], parent: int) -> None:
    """Do the work in the fork; report an error by the exit code alone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent was gone before the line above
        sys.exit(1)
    try:
        work()
    except BaseException:
        sys.exit(1)
