"""Progress of a stage: a bar with the remaining time on a terminal, and lines in a log otherwise."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOG_SECONDS = 30.0  # between two lines of progress in a log


def event(text: str) -> None:
    """Write one line to the log (standard error)."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Bar:
    """Display of the progress of one piece of work."""

    def update(self, done: int) -> None:
        """Show that ``done`` steps are done."""


class _Log(Bar):
    """Writes a line every ``LOG_SECONDS``, for a log."""

    def __init__(self, title: str, total: int, start: int) -> None:
        self.title, self.total, self.start = title, total, start
        self.started = self.last_line = time.monotonic()

    def update(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last_line >= LOG_SECONDS and self.start < done < self.total:
            left = (now - self.started) / (done - self.start) * (self.total - done)
            event(f"{self.title}: {done} of {self.total}, about {left:.0f} s to go")
            self.last_line = now


@contextmanager
def progress_bar(title: str, total: int, start: int = 0) -> Iterator[Bar]:
    """Show a bar on a terminal, or write lines to a log.

    Args:
        title: Name of the work.
        total: Number of steps.
        start: Number of steps done before.
    """
    if not sys.stderr.isatty():
        yield _Log(title, total, start)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(title, total=total, completed=start)

        class _RichBar(Bar):
            def update(self, done: int) -> None:
                display.update(task, completed=done)

        yield _RichBar()
