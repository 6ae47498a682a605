"""The unfinished table of one seed, which grows checkpoint by checkpoint.

The table is saved every ``SAVE_SECONDS``, with a stamp that says which stage, settings, seed and checkpoints its rows
belong to. After a kill the next process takes up the saved rows if the stamp fits, so that little of a long job is
lost.
"""

import time
from typing import Any

import pandas as pd
import pyarrow as pa

from nfa.storage.atomic import remove
from nfa.storage.finished_seeds import Parts
from nfa.storage.tables import read_stamp, read_table, write_table

SAVE_SECONDS = 20.0  # seconds between two savings of unfinished work


class GrowingTable:
    """The rows of one seed, including those that an earlier process saved before it was stopped.

    Attributes:
        steps: The checkpoints whose rows are in the table.
        seconds: Seconds that earlier processes spent on these rows.
    """

    def __init__(self, parts: Parts, seed: int, schema: pa.Schema, save_seconds: float) -> None:
        """Load the saved rows if they are whole and belong to this part; otherwise start empty."""
        self._parts, self._seed, self._schema, self._save_seconds = parts, seed, schema, save_seconds
        self._saved = parts.file(seed, "resume.parquet")
        self.steps: set[int] = set()
        self.seconds = 0.0
        self._frames: list[pd.DataFrame] = []
        try:
            stamp = read_stamp(self._saved)
            if stamp.items() >= self._identity().items():
                self._frames, self.steps = [read_table(self._saved)], set(stamp["steps"])
                self.seconds = stamp["seconds"]
        except (OSError, ValueError, KeyError):  # pyarrow's errors are ValueErrors, json's too
            self.steps, self._frames = set(), []
        self._started = self._last = time.perf_counter()

    def add(self, step: int, rows: pd.DataFrame) -> None:
        """Add the rows of a checkpoint, unless they are in the table already."""
        if step in self.steps:
            return
        self._frames.append(rows)
        self.steps.add(step)
        if time.perf_counter() - self._last >= self._save_seconds:
            self.save()

    def save(self) -> None:
        """Save the rows so far."""
        if not self.steps:
            return
        seconds = self.seconds + time.perf_counter() - self._started
        stamp = self._identity() | {"steps": sorted(self.steps), "seconds": seconds}
        write_table(self._saved, self._whole(), self._schema, stamp)
        self._last = time.perf_counter()

    def finish(self) -> pd.DataFrame:
        """Write and return the table of the part. Call ``discard`` when the whole part is written."""
        whole = self._whole()
        write_table(self._parts.file(self._seed, "parquet"), whole, self._schema)
        return whole

    def discard(self) -> None:
        """Remove the saved rows."""
        remove(self._saved)

    def _whole(self) -> pd.DataFrame:
        return pd.concat(self._frames, ignore_index=True)

    def _identity(self) -> dict[str, Any]:
        return self._parts.stamp([self._seed])
