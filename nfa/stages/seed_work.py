"""The loop over seeds and checkpoints that the stages ``measure`` and ``probe`` share.

Both stages keep one finished part for each seed (``nfa/storage/finished_seeds.py``) and go through the checkpoints of a
seed one by one. The rows of a seed grow in a ``GrowingTable``, which is saved now and then, so that a stage that was
stopped goes on at the checkpoint that it had reached.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa
from torch import nn

from nfa.errors import Preempted
from nfa.jobs.in_fork import in_groups
from nfa.jobs.preemption import preemption
from nfa.jobs.progress import Bar, event, progress_bar
from nfa.report.numbers import plural
from nfa.storage.checkpoints import load_weights, run_identity
from nfa.storage.finished_seeds import Parts
from nfa.storage.partial_table import GrowingTable
from nfa.storage.tables import read_table
from nfa.sweep.cells import Cell


class SeedWork:
    """The seeds of one cell in one stage, finished or to do.

    Attributes:
        to_do: Seeds without a finished part.
        tables: Seed -> table, of the seeds with a finished part.
    """

    def __init__(
        self, cell: Cell, parts: Parts, steps: Mapping[int, Sequence[int]], schema: pa.Schema, save_seconds: float
    ) -> None:
        """Read the finished parts.

        Args:
            cell: The cell.
            parts: The parts of the stage.
            steps: Seed -> steps of its checkpoints.
            schema: Columns of the stage's table.
            save_seconds: Seconds between two savings of a table that is not finished.
        """
        self.cell, self._parts, self._steps = cell, parts, steps
        self._schema, self._save_seconds = schema, save_seconds
        self.tables: dict[int, pd.DataFrame] = {}
        self.to_do = list(steps)
        self._unfinished()
        for seed in self.tables:
            event(f"{self._name(seed)}: finished before")

    def _unfinished(self) -> list[int]:
        """Read the tables of seeds to do whose parts are finished; return the other seeds."""
        for seed in list(self.to_do):
            if self._parts.finished(seed) is not None:
                self.tables[seed] = read_table(self._parts.file(seed, "parquet"))
                self.to_do.remove(seed)
        return list(self.to_do)

    def _name(self, seed: int) -> str:
        return f"{self._parts.stage} {self.cell.id} seed {seed}"

    def each(self, fill: Callable[[int, GrowingTable], None], processes: int) -> None:
        """Finish the parts of all seeds to do, several at once in forks of this process.

        Args:
            fill: Adds the missing checkpoints of a seed to its table, and writes the other files of its part.
            processes: Number of forks at a time.

        Raises:
            Preempted: The process was told to stop; what was finished is saved.
        """

        def finish(seeds: Sequence[int]) -> None:
            for seed in seeds:
                with self._part(seed) as table:
                    fill(seed, table)

        in_groups(self._unfinished, finish, 1, processes, f"{self._parts.stage} {self.cell.id}")

    @contextmanager
    def _part(self, seed: int) -> Iterator[GrowingTable]:
        """Give the table of a seed to the body, which fills it; on success mark the seed's part as finished."""
        started = time.perf_counter()
        table = GrowingTable(self._parts, seed, self._schema, self._save_seconds)
        yield table
        self.tables[seed] = table.finish()
        self._parts.finish(seed, started, earlier=table.seconds)
        table.discard()
        seconds = time.perf_counter() - started
        event(f"{self._name(seed)}: {plural(len(self._steps[seed]), 'checkpoint')} in {seconds:.1f} s")

    @contextmanager
    def checkpoints(
        self, seed: int, table: GrowingTable, model: nn.Module, again: Collection[int] = ()
    ) -> Iterator[Iterator[int]]:
        """Give an iterator over the checkpoints of a seed that are not in its table yet.

        For each step that the iterator gives, the weights of the checkpoint have been loaded into ``model``.

        Args:
            seed: The seed.
            table: Its table.
            model: The network of the cell.
            again: Steps to go through even if their rows are in the table.

        Raises:
            Preempted: The process was told to stop; the table is saved.
            UserError: A checkpoint is missing, damaged or foreign.
        """
        with progress_bar(self._name(seed), len(self._steps[seed])) as bar, preemption() as preempted:
            yield self._load_each(seed, table, model, again, bar, preempted)

    def _load_each(
        self,
        seed: int,
        table: GrowingTable,
        model: nn.Module,
        again: Collection[int],
        bar: Bar,
        preempted: Callable[[], bool],
    ) -> Iterator[int]:
        steps = self._steps[seed]
        for done, step in enumerate(steps):
            if step in table.steps and step not in again:
                continue
            if preempted():
                table.save()
                raise Preempted(f"{self._name(seed)}: told to stop; {done} of {plural(len(steps), 'checkpoint')} kept")
            identity = run_identity(self.cell, seed) | {"step": str(step)}
            load_weights(model, self._parts.paths.checkpoint(seed, step), identity)
            yield step
            bar.update(done + 1)

    def joined(self, seeds: Sequence[int]) -> pd.DataFrame:
        """Concatenate the tables of some seeds, in the order given."""
        return pd.concat([self.tables[seed] for seed in seeds], ignore_index=True)
