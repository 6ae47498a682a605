"""Progress of a stage: a bar with its ETA when a person watches, one line per event in a log otherwise."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def event(text: str) -> None:
    """Write one line to the log (standard error)."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Bar:
    """Progress of one run."""

    def update(self, done: int) -> None:
        """Show how far the run is."""


@contextmanager
def progress_bar(title: str, total: int, start: int = 0) -> Iterator[Bar]:
    """Show a bar on a terminal; elsewhere nothing (events tell the log)."""
    if not sys.stderr.isatty():
        yield Bar()
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
