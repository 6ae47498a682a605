"""A cluster that wants its machine back sends SIGTERM: save, and exit with a code of its own."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

PREEMPTED = 75  # exit status: EX_TEMPFAIL of sysexits.h, "try again"


class Preempted(Exception):
    """The work was saved because the process was told to stop."""


@contextmanager
def preemption() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM into a question that can be asked between two steps; the handler before is put back.

    Signals reach the main thread alone: elsewhere the answer is always no.
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
