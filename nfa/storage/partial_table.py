"""The table of one seed as it grows by checkpoints, saved now and then, so that a kill loses little of a long job."""

import time
from typing import Any

import pandas as pd
import pyarrow as pa

from nfa.storage.atomic import remove
from nfa.storage.parts import Parts
from nfa.storage.tables import read_stamp, read_table, write_table

SAVE_SECONDS = 20.0  # between two savings of work under way


class GrowingTable:
    """Rows of a seed, checkpoint by checkpoint: taken up where an earlier process was cut off.

    Attributes:
        steps: The checkpoints whose rows are there.
        seconds: What earlier processes spent on them.
    """

    def __init__(self, parts: Parts, seed: int, schema: pa.Schema, save_seconds: float) -> None:
        """Take up what was saved, if it belongs here and is whole; else start empty."""
        self._parts, self._seed, self._schema, self._every = parts, seed, schema, save_seconds
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
        """Add a checkpoint's rows, unless they are there."""
        if step in self.steps:
            return
        self._frames.append(rows)
        self.steps.add(step)
        if time.perf_counter() - self._last >= self._every:
            self.save()

    def save(self) -> None:
        """Keep what is there, whole or not at all."""
        if not self.steps:
            return
        seconds = self.seconds + time.perf_counter() - self._started
        stamp = self._identity() | {"steps": sorted(self.steps), "seconds": seconds}
        write_table(self._saved, self._whole(), self._schema, stamp)
        self._last = time.perf_counter()

    def finish(self) -> pd.DataFrame:
        """Write and return the part's table; what was saved is removed by ``discard``, when the part is whole."""
        whole = self._whole()
        write_table(self._parts.file(self._seed, "parquet"), whole, self._schema)
        return whole

    def discard(self) -> None:
        """Remove what was saved on the way."""
        remove(self._saved)

    def _whole(self) -> pd.DataFrame:
        return pd.concat(self._frames, ignore_index=True)

    def _identity(self) -> dict[str, Any]:
        return self._parts.stamp([self._seed])
