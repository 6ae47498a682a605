"""A cluster that wants its machine back sends SIGTERM: save, and exit with a code of its own."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

PREEMPTED = 75  # exit status: EX_TEMPFAIL of sysexits.h, "try again"


class Preempted(Exception):
    """The work was saved because the process was told to stop."""


def leave_at_once() -> None:
    """From now on leave on SIGTERM with ``PREEMPTED``, wherever no ``preemption`` waits for a better moment.

    Imports, loading and writing can be cut off anywhere: every file is written whole or not at all.
    """

    def leave(signum: int, frame: FrameType | None) -> None:
        # No print: the signal may have come in the midst of one.
        os.write(2, b"nfa: told to stop; finished work is kept, the same command goes on from it\n")
        os._exit(PREEMPTED)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, leave)


@contextmanager
def preemption() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM into a question that can be asked between two steps; the handler before is put back.

    It gets the signal that came after the last question. Signals reach the main thread alone: elsewhere the answer is
    always no.
    """
    asked = threading.Event()

    def note(signum: int, frame: FrameType | None) -> None:
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
    if asked.is_set():
        signal.raise_signal(signal.SIGTERM)
