"""Stage 1: train every seed of a cell; writes checkpoints, history.parquet and cell.json."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from nfa.conventions import NOT_REACHED
from nfa.errors import Preempted
from nfa.jobs.environment import describe_device, provenance
from nfa.jobs.in_fork import in_groups
from nfa.jobs.preemption import preemption
from nfa.jobs.progress import event, progress_bar
from nfa.stages.options import StageOptions
from nfa.storage.atomic import remove, write_text
from nfa.storage.checkpoints import DamagedError, is_whole, load_tensors, run_identity, save_tensors
from nfa.storage.columns import HISTORY
from nfa.storage.documents import cell_document
from nfa.storage.finished_seeds import Parts, write_timings
from nfa.storage.paths import CellPaths
from nfa.storage.tables import read_table, write_table
from nfa.storage.tuned import refuse_untuned
from nfa.sweep.cells import Cell, Sweep
from nfa.training import TrainingRun
from nfa.training.evaluate import constant_predictor
from nfa.training.materials import load_all
from nfa.training.together import Together, stackable

TOGETHER = 16  # seeds trained together at most: more seeds save no further overhead and take more memory


def train(sweep: Sweep, cell: Cell, options: StageOptions) -> None:
    """Train all seeds of a cell that are not finished, then write the cell's files from all of them.

    Args:
        sweep: The sweep.
        cell: One of its cells.
        options: How and where to work.

    Raises:
        Preempted: The process was told to stop; the states of unfinished runs are saved.
        UserError: A saved state belongs to another run.
    """
    refuse_untuned(sweep, cell)
    paths = options.paths(sweep, cell)
    hashes = sweep.hashes(cell)
    parts = Parts(paths, "train", hashes["train"])
    with parts.locked():
        waiting = [seed for seed in sweep.seeds if not _is_finished(parts, seed)]
        for seed in sweep.seeds:
            if seed not in waiting:
                event(f"train {cell.id} seed {seed}: finished before")
        in_groups(
            lambda: [seed for seed in waiting if not _is_finished(parts, seed)],
            lambda seeds: _train_seeds(cell, seeds, parts, options),
            TOGETHER,
            options.processes,
            f"train {cell.id}",
        )
        _write_outputs(sweep, cell, parts)
        write_timings(paths, hashes)


def _is_finished(parts: Parts, seed: int) -> bool:
    """Return True if a seed is trained and all its checkpoints exist and are undamaged."""
    record = parts.finished(seed)
    return record is not None and all(
        is_whole(parts.paths.checkpoint(seed, step)) for step in record["run"]["checkpoints"]
    )


def _train_seeds(cell: Cell, seeds: Sequence[int], parts: Parts, options: StageOptions) -> None:
    """Train some seeds, each from its saved state if there is one, and together if the network allows it."""
    started = time.perf_counter()
    data = load_all(cell, seeds, options.device)
    jobs = []
    for seed in list(seeds):
        job = _Job.begin(TrainingRun(cell, seed, data.pop(seed)), parts)
        if not stackable(job.run):  # it is trained to its end before the next run is built
            _advance([job], parts, options.save_seconds)
            job.finish(parts, options.device)
        else:
            jobs.append(job)
    for job in jobs:
        job.seconds += (time.perf_counter() - started) / len(jobs)
    if jobs:
        _advance(jobs, parts, options.save_seconds)
    for job in jobs:
        job.finish(parts, options.device)


@dataclass
class _Job:
    """A run in training, and the seconds that it has taken."""

    run: TrainingRun
    seconds: float

    @classmethod
    def begin(cls, run: TrainingRun, parts: Parts) -> "_Job":
        """Load the saved state of a run if there is one; otherwise record the run at step 0."""
        saved = _saved(parts, run.seed)
        identity = run_identity(run.cell, run.seed)
        try:
            found = load_tensors(saved, identity) if saved.exists() else None
        except DamagedError:
            event(f"train {run.cell.id} seed {run.seed}: {saved} is damaged; training begins again")
            found = None
        if found is None:
            _observe(run, parts.paths)
            return cls(run, 0.0)
        tensors, text = found
        run.restore(tensors, text)
        event(f"train {run.cell.id} seed {run.seed}: resumed at step {run.step}")
        return cls(run, float(text["seconds"]))

    @property
    def progress(self) -> int:
        """The steps that are taken, or are not needed because the run has ended."""
        return self.run.total if self.run.done else self.run.step

    def save(self, parts: Parts) -> None:
        """Save the state, so that a kill loses little."""
        tensors, text = self.run.state()
        text |= run_identity(self.run.cell, self.run.seed) | {"seconds": str(self.seconds)}
        save_tensors(_saved(parts, self.run.seed), tensors, text)

    def finish(self, parts: Parts, device: torch.device) -> None:
        """Write the finished part of a run."""
        run, cell, started = self.run, self.run.cell, time.perf_counter()
        history = pd.DataFrame(run.history, columns=HISTORY.names[1:])
        history.insert(0, "seed", run.seed)
        write_table(parts.file(run.seed, "parquet"), history, HISTORY)
        constant = constant_predictor(run.materials, cell.train.loss, run.loss)
        status = "diverged" if run.diverged else "finished"
        record = {"status": status, "last_step": run.step, "checkpoints": run.kept, "constant_predictor": constant}
        if cell.train.until is not None:
            record["reached"] = run.reached
        if cell.train.checkpoints_at_loss:
            record["at_loss"] = list(run.at_loss.items())
        made_with = {**provenance(), "device": describe_device(device), "threads": torch.get_num_threads()}
        parts.finish(run.seed, started, earlier=self.seconds, run=record, provenance=made_with)
        remove(_saved(parts, run.seed))
        outcome = status if cell.train.until is None or run.reached or run.diverged else NOT_REACHED
        event(f"train {cell.id} seed {run.seed}: {outcome} at step {run.step} in {self.seconds:.1f} s")


def _saved(parts: Parts, seed: int) -> Path:
    return parts.file(seed, "resume.safetensors")


def _advance(jobs: Sequence[_Job], parts: Parts, save_seconds: float) -> None:
    """Take all remaining steps and save the states regularly; runs at the same step are trained together."""
    cell, last_save = jobs[0].run.cell, time.perf_counter()
    total = sum(job.run.total for job in jobs)
    name = f"{cell.id} seed {' '.join(str(job.run.seed) for job in jobs)}"
    with progress_bar(name, total, sum(job.progress for job in jobs)) as bar, preemption() as preempted:
        while True:
            active = [job for job in jobs if not job.run.done]
            if not active:
                return
            # After a kill between two savings some runs lag behind; these first come to the step of the others.
            step = min(job.run.step for job in active)
            group = [job for job in active if job.run.step == step]
            next_step = min((job.run.step for job in active if job.run.step > step), default=group[0].run.total)
            runs = [job.run for job in group]
            together = Together(runs) if stackable(runs[0]) else None
            began = time.perf_counter()
            while runs[0].step < next_step and not any(run.done for run in runs):
                moved = together.advance() if together is not None else _advance_alone(runs[0])
                if moved and runs[0].step in runs[0].observed:
                    for run in runs:
                        _observe(run, parts.paths)
                now = time.perf_counter()
                if now - last_save >= save_seconds or preempted():
                    for job in group:
                        job.seconds += (now - began) / len(group)
                    if together is not None:
                        together.hand_back()
                    for job in group:
                        job.save(parts)
                    if preempted():
                        raise Preempted(f"train {cell.id}: told to stop; saved at step {runs[0].step}")
                    last_save = began = time.perf_counter()
                bar.update(sum(job.progress for job in jobs))
            for job in group:
                job.seconds += (time.perf_counter() - began) / len(group)
            if together is not None:
                together.part()


def _advance_alone(run: TrainingRun) -> bool:
    """Take one step; return False if the run has diverged."""
    run.advance()
    return not run.diverged


def _observe(run: TrainingRun, paths: CellPaths) -> None:
    """Record the history at this step, and save the weights if it is a checkpoint."""
    if run.observe():
        run.kept.append(run.step)
        metadata = run_identity(run.cell, run.seed) | {"step": str(run.step)}
        save_tensors(paths.checkpoint(run.seed, run.step), run.model.state_dict(), metadata)


def _write_outputs(sweep: Sweep, cell: Cell, parts: Parts) -> None:
    """Write history.parquet and cell.json from the finished parts."""
    history = pd.concat([read_table(parts.file(seed, "parquet")) for seed in sweep.seeds], ignore_index=True)
    write_table(parts.paths.history, history, HISTORY, parts.stamp(sweep.seeds))
    records = {seed: parts.finished(seed) or {} for seed in sweep.seeds}
    runs = {str(seed): record["run"] | {"provenance": record["provenance"]} for seed, record in records.items()}
    document = cell_document(sweep, cell, runs, records[sweep.seeds[0]]["provenance"])
    write_text(parts.paths.cell, json.dumps(document, indent=1))
