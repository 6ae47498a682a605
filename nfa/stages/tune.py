"""The stage before training, of cells with settings to tune: find the values with the lowest validation loss.

All combinations of the first values begin to train, each on seeds that are not the sweep's, and without the validation
samples, which are a fixed part of the training set; the test set is not used. After a share of the steps the half with
the lower validation loss goes on, and again whenever that share has doubled (successive halving). Then each setting is
refined once: the values halfway between the best one and its neighbours are trained, too. The value with the lowest
loss at the end is the one that the cell is trained with. A trial whose loss is not finite has lost.

A search is kept below results/.tuned, in a folder named by the hash of all that it depends on, so that sweeps share it.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from nfa.digests import read_sealed, sealed
from nfa.errors import Preempted, UserError
from nfa.jobs.environment import provenance
from nfa.jobs.in_fork import in_groups
from nfa.jobs.preemption import preemption
from nfa.jobs.progress import event
from nfa.stages.options import StageOptions
from nfa.storage.atomic import write_text
from nfa.storage.checkpoints import DamagedError, load_tensors, save_tensors
from nfa.storage.columns import TRIALS
from nfa.storage.locks import waiting_lock
from nfa.storage.paths import search_folder
from nfa.storage.tables import write_table
from nfa.sweep.cells import KEPT, Cell, Sweep
from nfa.sweep.stage_settings import Train
from nfa.training import TrainingRun
from nfa.training.materials import Materials, load_all
from nfa.training.together import Together, stackable

FIRST_SEED = 2**31  # a sweep's own seeds are smaller


def tune(sweep: Sweep, cell: Cell, options: StageOptions) -> None:
    """Find the values of a cell's settings that are tuned, and write tuned.json and trials.parquet.

    Args:
        sweep: The sweep.
        cell: One of its cells; without such settings there is nothing to do.
        options: How and where to work.

    Raises:
        Preempted: The process was told to stop; what was finished is saved.
        UserError: Every trial diverged.
    """
    if not cell.searches:
        return
    key, paths = sweep.tune_hash(cell), options.paths(sweep, cell)
    folder = search_folder(options.results, key)
    with waiting_lock(folder / "lock", f"tune: another process searches for the settings of {cell.id}"):
        document, rows = _finished(folder, key)
        if document is None:
            search = _Searching(sweep, cell, options, folder)
            document, rows = search.run()
            document = {"hash": key, **document, "provenance": provenance()}
            write_text(folder / "search.json", json.dumps(sealed({**document, "rows": rows})))
            search.clear()
        else:
            event(f"tune {cell.id}: found before")
    write_table(paths.trials, pd.DataFrame(rows, columns=TRIALS.names), TRIALS, {"stage": "tune", "hash": key})
    write_text(paths.tuned, json.dumps(sealed(document), indent=1) + "\n")
    found = ", ".join(f"{name} {value:g}" for name, value in document["found"].items())
    event(f"tune {cell.id}: {found} of {document['trials']} trials, validation loss {document['validation_loss']:.4g}")
    for name, end in document["at_edge"].items():
        event(f"tune {cell.id}: warning: {name} is at the {end} end of its range; widen it")


def _finished(folder: Path, key: str) -> tuple[dict[str, Any] | None, list[list[Any]]]:
    """Read a finished search: its document and the rows of its table; None if there is none."""
    try:
        document = read_sealed(folder / "search.json")
    except (OSError, ValueError):
        return None, []
    if document.get("hash") != key:
        return None, []
    return document, document.pop("rows")


@dataclass(frozen=True)
class _Trial:
    """One combination of values, and the loss that it has reached at each share of the steps.

    Attributes:
        number: Its number; it names its files.
        values: Setting -> value.
        losses: Share of the steps -> mean validation loss over the seeds; infinite if a seed diverged.
        rows: Rows of the table of trials, without the number and the values.
    """

    number: int
    values: dict[str, float]
    losses: dict[float, float]
    rows: list[list[Any]]


class _Searching:
    """A search that may be stopped and started again."""

    def __init__(self, sweep: Sweep, cell: Cell, options: StageOptions, folder: Path) -> None:
        """Load the data, and take the validation samples out of the training set."""
        self.cell, self.settings, self.options, self.folder = _without_files(cell), sweep.tune, options, folder
        self.key = sweep.tune_hash(cell)
        self.seeds = [FIRST_SEED + i for i in range(self.settings.seeds)]
        loaded = load_all(cell, self.seeds, options.device)
        held_out = {id(data): hold_out(data, self.settings.validation) for data in loaded.values()}
        self.materials = {seed: held_out[id(data)] for seed, data in loaded.items()}
        self.samples = len(self.materials[FIRST_SEED].order)
        self.grids = {name: search.grid(self.settings.points) for name, search in cell.searches.items()}
        self.trials = [dict(zip(self.grids, values, strict=True)) for values in product(*self.grids.values())]

    def run(self) -> tuple[dict[str, Any], list[list[Any]]]:
        """Search, and return the document of the search and the rows of its table."""
        going = list(range(len(self.trials)))
        for share in self.settings.shares:
            self._train(going, share)
            ranked = sorted((self._loss(number, share), number) for number in going)
            going = [number for loss, number in ranked if loss < math.inf][: (len(ranked) + 1) // 2]
        best = self._best()
        first = len(self.trials)
        self.trials += self._between(self.trials[best])
        self._train(range(first, len(self.trials)), 1.0)
        best = self._best()
        return self._document(best), [
            [trial.number, json.dumps(trial.values), *row]
            for trial in map(self._read, range(len(self.trials)))
            for row in trial.rows
        ]

    def _best(self) -> int:
        """Return the trial with the lowest loss at the end; those that lost early go on if no other is finite.

        Raises:
            UserError: Every trial diverged.
        """
        while True:
            ended = [(self._loss(number, 1.0), number) for number in range(len(self.trials))]
            if (best := min(ended))[0] < math.inf:
                return best[1]
            waiting = [number for number in range(len(self.trials)) if not self._over(number)]
            if not waiting:
                tried = ", ".join(f"{name} {grid[0]:g} to {grid[-1]:g}" for name, grid in self.grids.items())
                raise UserError(f"tune {self.cell.id}: every trial diverged ({tried}); give a range with smaller steps")
            self._train([min(waiting, key=lambda number: self._last(number))], 1.0)

    def _between(self, best: dict[str, float]) -> Iterator[dict[str, float]]:
        """Yield the values halfway between the best ones and their neighbours, one setting at a time."""
        for name, search in self.cell.searches.items():
            grid = self.grids[name]
            place = grid.index(best[name])
            for neighbour in () if search.values else (place - 1, place + 1):
                if 0 <= neighbour < len(grid):
                    value = search.between(best[name], grid[neighbour])
                    if value not in grid:
                        yield best | {name: value}

    def _document(self, best: int) -> dict[str, Any]:
        trials = [self._read(number) for number in range(len(self.trials))]
        found = self.trials[best]
        ends = {name: {grid[0]: "low", grid[-1]: "high"} for name, grid in self.grids.items()}
        steps = sum(
            max((row[1] for row in trial.rows if row[0] == seed), default=0) for trial in trials for seed in self.seeds
        )
        return {
            "found": found,
            "trial": best,
            "at_edge": {name: ends[name][value] for name, value in found.items() if value in ends[name]},
            "validation_loss": trials[best].losses[1.0],
            "trials": len(trials),
            "diverged": sum(math.inf in trial.losses.values() for trial in trials),
            "seeds": len(self.seeds),
            "steps": steps,
        }

    def _train(self, numbers: Sequence[int], share: float) -> None:
        """Train some trials until a share of the steps, side by side."""

        def waiting() -> list[int]:
            return [number for number in numbers if not self._over(number) and share not in self._read(number).losses]

        def advance(group: Sequence[int]) -> None:
            for number in group:
                self._advance(number, share)

        in_groups(waiting, advance, 1, self.options.processes, f"tune {self.cell.id}")

    def _loss(self, number: int, share: float) -> float:
        return self._read(number).losses.get(share, math.inf)

    def _over(self, number: int) -> bool:
        """Return True if a trial has diverged or is trained to its end."""
        losses = self._read(number).losses
        return 1.0 in losses or math.inf in losses.values()

    def _last(self, number: int) -> float:
        """Return the loss of a trial after the last share that it has reached."""
        losses = self._read(number).losses
        return losses[max(losses)] if losses else math.inf

    def _read(self, number: int) -> _Trial:
        """Read what a trial has reached; nothing if its file is missing or damaged."""
        empty = _Trial(number, self.trials[number], {}, [])
        try:
            record = read_sealed(self._file(number, "json"))
        except (OSError, ValueError):
            return empty
        if record["key"] != self.key or record["values"] != empty.values:
            return empty
        losses = {float(share): math.inf if loss is None else loss for share, loss in record["losses"].items()}
        return _Trial(number, empty.values, losses, record["rows"])

    def _file(self, number: int, suffix: str) -> Path:
        return self.folder / f"trial-{number}.{suffix}"

    def _advance(self, number: int, share: float) -> None:
        """Train one trial until a share of the steps, from the state that was saved, and write what it has reached."""
        trial = self._read(number)
        stop = max(1, round(self.cell.train.total_steps(self.samples) * share))
        runs = self._begin(number, stop)
        self._to(number, runs, stop)
        losses = [_validation_loss(run) for run in runs]
        mean = sum(losses) / len(losses)
        reached = {**{str(done): loss for done, loss in trial.losses.items()}, str(share): mean}
        record = {
            "key": self.key,
            "values": trial.values,
            "losses": {done: loss if math.isfinite(loss) else None for done, loss in reached.items()},
            "rows": [[run.seed, *row] for run in runs for row in _rows(run)],
        }
        write_text(self._file(number, "json"), json.dumps(sealed(record)))

    def _to(self, number: int, runs: list[TrainingRun], stop: int) -> None:
        """Train the seeds of a trial together until a step, unless one of them diverges; save their states."""
        saved = time.perf_counter()
        with preemption() as preempted:
            while active := _active(runs, stop):
                together = Together(active) if len(active) > 1 and stackable(active[0]) else None
                while _active(runs, stop) == active:
                    if together is not None:
                        together.advance()
                    else:
                        for run in active:
                            run.advance()
                    if any(run.diverged for run in active):  # not all of them have moved
                        break
                    for run in active:
                        if run.step in run.observed:
                            run.observe()
                        if run.step == stop and run.step not in run.evaluations and not run.reached:
                            run.record()
                    if preempted() or time.perf_counter() - saved >= self.options.save_seconds:
                        if together is not None:
                            together.hand_back()
                        self._save(number, runs)
                        saved = time.perf_counter()
                        if preempted():
                            raise Preempted(f"tune {self.cell.id}: told to stop; finished work is kept")
                if together is not None:
                    together.part()
        self._save(number, runs)

    def _save(self, number: int, runs: Sequence[TrainingRun]) -> None:
        """Write the states of all seeds of a trial into one file, so that they are always at the same step."""
        tensors: dict[str, Tensor] = {}
        texts: dict[str, str] = {}
        for run in runs:
            own, text = run.state()
            tensors |= {f"{run.seed}/{name}": value for name, value in own.items()}
            texts[str(run.seed)] = json.dumps(text)
        save_tensors(self._file(number, "safetensors"), tensors, texts | self._identity(number))

    def _begin(self, number: int, stop: int) -> list[TrainingRun]:
        """Make the runs of a trial as they were saved, or at step 0 if that is damaged or beyond the step ``stop``."""
        cell, file = self.cell.with_found(self.trials[number]), self._file(number, "safetensors")
        runs = [TrainingRun(cell, seed, self.materials[seed]) for seed in self.seeds]
        try:
            tensors, texts = load_tensors(file, self._identity(number)) if file.exists() else ({}, {})
        except DamagedError:
            event(f"tune {self.cell.id}: {file} is damaged; the trial begins again")
            tensors, texts = {}, {}
        states = {run.seed: json.loads(texts.get(str(run.seed), "{}")) for run in runs}
        if not all(state and json.loads(state["state"])["step"] <= stop for state in states.values()):
            for run in runs:
                run.observe()
            return runs
        for run in runs:
            start = f"{run.seed}/"
            own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
            run.restore(own, states[run.seed])
        return runs

    def _identity(self, number: int) -> dict[str, str]:
        return {"search": self.key, "values": json.dumps(self.trials[number], sort_keys=True)}

    def clear(self) -> None:
        """Delete the files of the trials, whose content is in the finished search."""
        for file in self.folder.glob("trial-*"):
            file.unlink()


def _without_files(cell: Cell) -> Cell:
    """Return a cell without the settings of ``train`` for checkpoints, which change where a run is looked at."""
    plain = {key: Train.model_fields[key].default for key in KEPT}
    return replace(cell, train_point=replace(cell.train_point, settings=cell.train.model_copy(update=plain)))


def hold_out(data: Materials, share: float) -> Materials:
    """Take validation samples out of a training set.

    Args:
        data: The data of a cell.
        share: Share of the training samples, at least one, that become the test set of the result: the last ones of
            the fixed permutation whose first ones are measured. The given test set is left out.
    """
    n = len(data.order)
    few = min(max(1, round(share * n)), n - 1)
    kept, held = data.order[:-few].sort().values, data.order[-few:]
    labels = data.labels_train
    return replace(
        data,
        x_train=data.x_train[kept],
        y_train=data.y_train[kept],
        labels_train=None if labels is None else labels[kept],
        x_test=data.x_train[held],
        y_test=data.y_train[held],
        labels_test=None if labels is None else labels[held],
        order=torch.arange(n - few, device=data.order.device),
    )


def _active(runs: Sequence[TrainingRun], stop: int) -> list[TrainingRun]:
    """Return the runs that have steps to take until a step; none once one of them has diverged."""
    if any(run.diverged for run in runs):
        return []
    return [run for run in runs if not run.done and run.step < stop]


def _rows(run: TrainingRun) -> Iterator[list[Any]]:
    """Yield step, epoch, split, metric and value of the losses and accuracies of a run, and of its divergence."""
    for step, epoch, split, metric, value in run.history:
        if metric in ("loss", "accuracy", "diverged"):
            yield [
                step,
                epoch,
                "validation" if split == "test" else split,
                metric,
                value if math.isfinite(value) else None,
            ]


def _validation_loss(run: TrainingRun) -> float:
    """Return the loss on the validation samples at the last step; infinite if the run diverged."""
    if run.diverged:
        return math.inf
    value = next(row[4] for row in reversed(run.history) if row[2:4] == ("test", "loss"))
    return value if math.isfinite(value) else math.inf
