"""A cluster that wants its machine back sends SIGTERM: save, and exit with a code of its own."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from nfa.errors import Preempted
from nfa.jobs.exit_codes import PREEMPTED


def leave_at_once() -> None:
    """From now on leave on SIGTERM with ``PREEMPTED``, wherever no ``preemption`` waits for a better moment.

    Imports, loading and writing can be cut off anywhere: every file is written whole or not at all.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)


def _leave(signum: int, frame: FrameType | None) -> None:
    # No print: the signal may have come in the midst of one.
    os.write(2, b"nfa: told to stop; finished work is kept, the same command goes on from it\n")
    os._exit(PREEMPTED)


@contextmanager
def preemption() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM into a question that can be asked between two steps; the handler before is put back.

    It gets the signal that came after the last question. A command that is on its way out as ``Preempted`` hears no
    second one: what stops all of a group's processes reaches a job more than once. Signals reach the main thread alone:
    elsewhere the answer is always no.
    """
    told: list[int] = []  # no Event: one signal may come while another takes its lock

    def note(signum: int, frame: FrameType | None) -> None:
        told.append(signum)

    def asked() -> bool:
        return bool(told)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, note)
    after = before
    try:
        yield asked
    except Preempted:
        after = signal.SIG_IGN if before is _leave else before
        raise
    finally:
        signal.signal(signal.SIGTERM, after)
    if told:
        signal.raise_signal(signal.SIGTERM)
