"""Stage 2: measure alignment at every checkpoint of a cell; writes alignment.parquet and matrices.npz."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from nfa.alignment import LayerCovariance, frame, measure_covariances, pictures, weight_gradients
from nfa.errors import Preempted
from nfa.jobs.preemption import preemption
from nfa.jobs.progress import event, progress_bar
from nfa.storage.arrays import read_arrays, write_arrays
from nfa.storage.checkpoints import load_weights, run_identity
from nfa.storage.checks import finished_runs
from nfa.storage.columns import ALIGNMENT
from nfa.storage.partial_table import SAVE_SECONDS, GrowingTable
from nfa.storage.parts import Parts, write_timings
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_table, write_table
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.sections import Measure
from nfa.theory.early import early_arrays
from nfa.training import Materials, build_model, load_data
from nfa.training.materials import training_loss
from nfa.training.start import Slopes

Moving = dict[str, Any]  # arguments of `frame`: layer name -> gradient, or direction


def measure(sweep: Sweep, cell: Cell, results: Path, device: torch.device, save_seconds: float = SAVE_SECONDS) -> None:
    """Measure every seed of a cell that is not measured, then write the cell's files from all of them.

    Raises:
        UserError: The cell is not trained, or a checkpoint is missing, damaged or foreign.
    """
    paths = SweepPaths(results / sweep.name).cell(cell.id)
    hashes = sweep.hashes(cell)
    parts = Parts(paths, "measure", hashes["measure"])
    runs = finished_runs(paths, sweep.seeds)  # before the lock makes a folder
    tables: dict[int, pd.DataFrame] = {}
    arrays: dict[int, dict[str, np.ndarray]] = {}
    with parts.locked():
        for seed, run in runs.items():
            if parts.finished(seed) is not None:
                event(f"measure {cell.id} seed {seed}: finished before")
                tables[seed] = read_table(parts.file(seed, "parquet"))
                arrays[seed] = read_arrays(parts.file(seed, "npz"))
                continue
            started = time.perf_counter()
            table = GrowingTable(parts, seed, ALIGNMENT, save_seconds)
            arrays[seed] = _measure_seed(cell, seed, run["checkpoints"], sweep.measure, table, parts, device)
            tables[seed] = table.finish()
            write_arrays(parts.file(seed, "npz"), arrays[seed])
            parts.finish(seed, started, earlier=table.seconds)
            table.discard()
            took = time.perf_counter() - started
            event(f"measure {cell.id} seed {seed}: {len(run['checkpoints'])} checkpoints in {took:.1f} s")
        whole = pd.concat([tables[seed] for seed in sweep.seeds], ignore_index=True)
        # The arrays first: they carry no stamp, and the table's is to vouch for both after a kill between the two.
        write_arrays(paths.matrices, {name: each for seed in sweep.seeds for name, each in arrays[seed].items()})
        write_table(paths.alignment, whole, ALIGNMENT, parts.stamp(sweep.seeds))
        write_timings(paths, hashes)


def _measure_seed(
    cell: Cell,
    seed: int,
    steps: list[int],
    settings: Measure,
    table: GrowingTable,
    parts: Parts,
    device: torch.device,
) -> dict[str, np.ndarray]:
    """Measure the checkpoints of one run that are not in its table; return the arrays for the pictures.

    The first one is measured in any case: the others are compared with it.
    """
    materials = load_data(cell, seed, device)
    inputs = materials.x_train[materials.order[: settings.samples]]
    model = build_model(cell, seed, device)
    arrays: dict[str, np.ndarray] = {}
    initial: dict[str, LayerCovariance] = {}
    like = None
    with progress_bar(f"measure {cell.id} seed {seed}", len(steps)) as bar, preemption() as preempted:
        for done, step in enumerate(steps):
            if step in table.steps and step not in (steps[0], steps[-1]):
                continue
            if preempted():
                table.save()
                raise Preempted(f"measure {cell.id} seed {seed}: told to stop; {done} of {len(steps)} checkpoints kept")
            identity = run_identity(cell, seed) | {"step": str(step)}
            load_weights(model, parts.paths.checkpoint(seed, step), identity)
            found = measure_covariances(
                model, inputs, estimator=settings.estimator, probes=settings.probes, seed=seed, like=like
            )
            measured, like = found.layers, found.survey
            initial = initial or measured
            moving = _start(cell, seed, model, materials) if step == 0 else _later(cell, model, materials)
            coupled, decoupled = _decays(cell)
            rows = frame(
                measured,
                initial=initial,
                **moving,
                weight_decay=coupled,
                decoupled_decay=decoupled,
                seed=seed,
                step=step,
            )
            table.add(step, rows)
            if step in (steps[0], steps[-1]):
                for name, layer in measured.items():
                    for kind, array in pictures(layer.weight, layer.covariance).items():
                        arrays[f"{seed}/{step}/{name}/{kind}"] = array
            bar.update(done + 1)
    if settings.early and cell.follows_gradient_flow:
        arrays |= _early(cell, seed, settings.early, materials, device)
    return arrays


def _early(cell: Cell, seed: int, samples: int, materials: Materials, device: torch.device) -> dict[str, np.ndarray]:
    """Predict and measure the early dynamics of gradient flow on some training samples, from the initial weights."""
    chosen = materials.order[:samples]
    curves = early_arrays(
        build_model(cell, seed, device), materials.x_train[chosen], materials.y_train[chosen], training_loss(cell)
    )
    return {f"{seed}/0/{name}": array for name, array in curves.items()}


def _decays(cell: Cell) -> tuple[float, float]:
    """Weight decay of a cell's optimizer, coupled and decoupled; at least one is 0."""
    entry = cell.optimizer_entry
    return entry.weight_decay(cell.optimizer), entry.decoupled_decay(cell.optimizer)


def _start(cell: Cell, seed: int, model: torch.nn.Module, materials: Materials) -> Moving:
    """What the limits at step 0 are taken along."""
    start = Slopes.of(cell, seed, model, materials).start(cell, model)
    return {"gradients": start.gradients, "instead": start.instead, "updates": start.updates}


def _later(cell: Cell, model: torch.nn.Module, materials: Materials) -> Moving:
    """Gradient of the whole training loss, where a quantity needs it: FACT, under weight decay."""
    if _decays(cell)[0] == 0:
        return {}
    return {"gradients": weight_gradients(model, materials.x_train, materials.y_train, training_loss(cell))}
