"""Work that only writes files, done in forks of this process: beside it, or several tasks side by side.

Doing a task twice must be harmless. A fork that fails leaves its task to this process, where the error is raised
unchanged. Forks end with this process, however that ends, so that after a kill a new attempt is the only writer. On
systems other than Linux, where libraries do not survive a fork, this process does everything itself.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import ceil
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess

from nfa.errors import Preempted
from nfa.jobs.preemption import preemption

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
POLL_SECONDS = 0.2


@contextmanager
def running_in_fork(work: Callable[[], None]) -> Iterator[None]:
    """Do ``work`` in a fork while the body of the ``with`` statement runs; when the body is left, the work is done."""
    if sys.platform != "linux":
        work()
        yield
        return
    process = _fork(work)
    try:
        yield
    except BaseException:
        process.kill()  # SIGTERM would only be noted by the handler that a stage sets for preemption, and forks inherit
        raise
    finally:
        process.join()
    if process.exitcode:
        work()


def side_by_side(tasks: Sequence[Callable[[], None]], at_once: int, stop: Callable[[], bool]) -> None:
    """Do tasks in forks, so many at once, until all are done or have failed, or ``stop`` tells to stop.

    In a fork SIGTERM ends a task at once, unless the task handles the signal. Where only one task would be done at
    once, none is done: the caller goes through the tasks that are left in any case.

    Args:
        tasks: Tasks that write files.
        at_once: Number of forks at a time.
        stop: Asked several times a second; if it returns True, running forks are sent SIGTERM and waited for.
    """
    if sys.platform != "linux" or min(at_once, len(tasks)) < 2:
        return
    waiting, running = list(tasks), list[ForkProcess]()
    try:
        while waiting or running:
            if stop():
                waiting.clear()
                for process in running:
                    process.terminate()
            while waiting and len(running) < at_once:
                running.append(_fork(_let_sigterm_end_it, waiting.pop(0)))
            wait([process.sentinel for process in running], timeout=POLL_SECONDS)
            running = [process for process in running if process.is_alive()]
    finally:
        for process in running:
            process.kill()
            process.join()


def in_groups(
    unfinished: Callable[[], Sequence[int]],
    work: Callable[[Sequence[int]], None],
    largest: int,
    processes: int,
    name: str,
) -> None:
    """Do work on all seeds that are not finished: first in forks side by side, then what is left in this process.

    Args:
        unfinished: Returns the seeds to work on; asked again when the forks have ended.
        work: Finishes a group of seeds.
        largest: Number of seeds in a group at most.
        processes: Number of forks at a time; the seeds are shared out among them.
        name: What is being done, for messages.

    Raises:
        Preempted: The process was told to stop; what was finished is saved.
    """
    seeds = unfinished()
    with preemption() as preempted:
        shared = _groups(seeds, min(largest, ceil(len(seeds) / processes)))
        side_by_side([partial(work, group) for group in shared], processes, preempted)
        if preempted():
            raise Preempted(f"{name}: told to stop; finished work is kept")
    for group in _groups(unfinished() if processes > 1 else seeds, largest):
        work(group)


def _groups(seeds: Sequence[int], size: int) -> list[Sequence[int]]:
    """Cut seeds into groups of a size."""
    return [seeds[start : start + size] for start in range(0, len(seeds), max(size, 1))]


def _let_sigterm_end_it() -> None:
    """Put back the default handling of SIGTERM, which ends a fork in silence: its parent says that it was stopped."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _fork(*works: Callable[[], None]) -> ForkProcess:
    """Start a fork that does some works one after the other."""
    process = multiprocessing.get_context("fork").Process(target=_work_quietly, args=(works, os.getpid()))
    process.start()
    return process


def _work_quietly(works: Sequence[Callable[[], None]], parent: int) -> None:
    """Do the work in the fork; report an error by the exit code alone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent was gone before the line above
        sys.exit(1)
    try:
        for work in works:
            work()
    except BaseException:
        sys.exit(1)
