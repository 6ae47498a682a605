"""Stage 1: train every seed of a cell; writes checkpoints, history.parquet and cell.json."""

import json
import time
from pathlib import Path

import pandas as pd
import torch

from nfa.losses import LOSSES
from nfa.paths import CellPaths, SweepPaths
from nfa.stages.checkpoints import load_tensors, save_tensors
from nfa.stages.documents import cell_document
from nfa.stages.environment import describe_device, provenance
from nfa.stages.parts import Parts, write_timings
from nfa.stages.progress import event, progress_bar
from nfa.sweep import Cell, Sweep
from nfa.tables import HISTORY, read_table, remove, write_table, write_text
from nfa.training import TrainingRun, load_data
from nfa.training.evaluate import constant_predictor


def train(sweep: Sweep, cell: Cell, results: Path, device: torch.device, save_seconds: float = 20.0) -> None:
    """Train all seeds of a cell that are not finished, then write the cell's files from all of them.

    Raises:
        UserError: A saved state is damaged or belongs to another run.
    """
    paths = SweepPaths(results / sweep.name).cell(cell.id)
    hashes = sweep.hashes(cell)
    parts = Parts(paths, "train", hashes["train"])
    with parts.locked():
        for seed in sweep.seeds:
            if _whole(parts, seed):
                event(f"train {cell.id} seed {seed}: finished before")
            else:
                _train_seed(cell, seed, parts, device, save_seconds)
        _write_outputs(sweep, cell, parts)
        write_timings(paths, hashes)


def run_identity(cell: Cell, seed: int) -> dict[str, str]:
    """Which run a checkpoint belongs to, as its metadata say."""
    return {"cell": cell.id, "seed": str(seed)}


def _whole(parts: Parts, seed: int) -> bool:
    """Tell whether a seed is trained and all its checkpoints are there."""
    record = parts.finished(seed)
    return record is not None and all(
        parts.paths.checkpoint(seed, step).exists() for step in record["run"]["checkpoints"]
    )


def _train_seed(cell: Cell, seed: int, parts: Parts, device: torch.device, save_seconds: float) -> None:
    """Train one seed, from its saved state where there is one."""
    started = time.perf_counter()
    materials = load_data(cell, seed, device)
    run = TrainingRun(cell, seed, materials)
    saved = parts.file(seed, "resume.safetensors")
    earlier = 0.0
    if saved.exists():
        tensors, text = load_tensors(saved, run_identity(cell, seed))
        run.restore(tensors, text)
        earlier = float(text["seconds"])
        event(f"train {cell.id} seed {seed}: resumed at step {run.step}")
    else:
        _visit(run, parts.paths)
    _advance(run, parts, saved, started - earlier, save_seconds)
    history = pd.DataFrame(run.history, columns=HISTORY.names[1:])
    history.insert(0, "seed", seed)
    write_table(parts.file(seed, "parquet"), history, HISTORY)
    constant = constant_predictor(materials, cell.train.loss, LOSSES[cell.train.loss])
    status = "diverged" if run.diverged else "finished"
    record = {"status": status, "last_step": run.step, "checkpoints": run.kept, "constant_predictor": constant}
    made_with = {**provenance(), "device": describe_device(device), "threads": torch.get_num_threads()}
    parts.finish(seed, started, earlier=earlier, run=record, provenance=made_with)
    remove(saved)
    event(f"train {cell.id} seed {seed}: {status} at step {run.step} in {time.perf_counter() - started:.1f} s")


def _advance(run: TrainingRun, parts: Parts, saved: Path, begun: float, save_seconds: float) -> None:
    """Take the remaining steps, saving the state now and then."""
    last_save = time.perf_counter()
    with progress_bar(f"{run.cell.id} seed {run.seed}", run.total, run.step) as bar:
        while run.step < run.total and not run.diverged:
            run.advance()
            if run.step in run.evaluations and not run.diverged:
                _visit(run, parts.paths)
            if time.perf_counter() - last_save >= save_seconds:
                tensors, text = run.state()
                text |= run_identity(run.cell, run.seed) | {"seconds": str(time.perf_counter() - begun)}
                save_tensors(saved, tensors, text)
                last_save = time.perf_counter()
            bar.update(run.step)


def _visit(run: TrainingRun, paths: CellPaths) -> None:
    """Record the history at this step and keep the weights at a checkpoint; once diverged only the initial ones."""
    run.record()
    if run.step in run.checkpoints and (run.step == 0 or not run.diverged):
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
