"""Preemption: a cluster that needs its machine back sends SIGTERM, and a stage saves its work and exits.

Outside of ``preemption()`` SIGTERM ends the process at once, with the exit code ``PREEMPTED``, which is safe because
every file is written whole or not at all. Inside of it the signal only sets a flag, which a loop asks for between two
steps; the loop then saves its state and raises ``Preempted``.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from nfa.errors import Preempted
from nfa.jobs.exit_codes import PREEMPTED


def leave_at_once() -> None:
    """Make SIGTERM end the process with the exit code ``PREEMPTED``, except inside of ``preemption()``."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)


def _leave(signum: int, frame: FrameType | None) -> None:
    # Not by print, because the signal may have come in the middle of one.
    os.write(2, b"nfa: told to stop; finished work is kept, the same command goes on from it\n")
    os._exit(PREEMPTED)


@contextmanager
def preemption() -> Iterator[Callable[[], bool]]:
    """Give a function that returns True once SIGTERM has come; put back the previous handler at the end.

    A signal that came after the last question is passed on to the previous handler. A command that ends because of
    ``Preempted`` ignores further signals, because a signal to all processes of a group reaches a job more than once.
    Only the main thread receives signals: in other threads the function always returns False.
    """
    received: list[int] = []  # not an Event: a signal may come while another one holds its lock

    def note(signum: int, frame: FrameType | None) -> None:
        received.append(signum)

    def stop_requested() -> bool:
        return bool(received)

    if threading.current_thread() is not threading.main_thread():
        yield stop_requested
        return
    before = signal.signal(signal.SIGTERM, note)
    after = before
    try:
        yield stop_requested
    except Preempted:
        after = signal.SIG_IGN if before is _leave else before
        raise
    finally:
        signal.signal(signal.SIGTERM, after)
    if received:
        signal.raise_signal(signal.SIGTERM)
