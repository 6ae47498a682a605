"""Stage 2: measure alignment at every checkpoint of a cell; writes alignment.parquet and matrices.npz."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nfa.alignment import LayerCovariance, frame, left_pictures, measure_covariances, pictures, weight_gradients
from nfa.alignment.quantities.catalogue import chosen
from nfa.alignment.quantities.quantity import LOSS_GRADIENT, MOTION
from nfa.stages.options import StageOptions
from nfa.stages.seed_work import SeedWork
from nfa.storage.arrays import read_arrays, write_arrays
from nfa.storage.checks import finished_runs
from nfa.storage.columns import ALIGNMENT
from nfa.storage.finished_seeds import Parts, write_timings
from nfa.storage.partial_table import GrowingTable
from nfa.storage.tables import write_table
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.stage_settings import Measure
from nfa.theory.early import early_arrays
from nfa.training import Materials, build_model, load_data
from nfa.training.materials import training_loss
from nfa.training.start import StartGradients


def measure(sweep: Sweep, cell: Cell, options: StageOptions) -> None:
    """Measure every seed of a cell that is not measured, then write the cell's files from all of them.

    Args:
        sweep: The sweep.
        cell: One of its cells, trained.
        options: How and where to work.

    Raises:
        UserError: The cell is not trained, or a checkpoint is missing, damaged or foreign.
    """
    paths = options.paths(sweep, cell)
    hashes = sweep.hashes(cell)
    parts = Parts(paths, "measure", hashes["measure"])
    runs = finished_runs(paths, sweep.seeds)  # raises before the lock makes a folder
    steps = {seed: run["checkpoints"] for seed, run in runs.items()}
    with parts.locked():
        work = SeedWork(cell, parts, steps, ALIGNMENT, options.save_seconds)

        def fill(seed: int, table: GrowingTable) -> None:
            arrays = _measure_seed(work, seed, table, steps[seed], sweep.measure, options.device)
            write_arrays(parts.file(seed, "npz"), arrays)

        work.each(fill, options.processes)
        whole = {name: array for seed in sweep.seeds for name, array in read_arrays(parts.file(seed, "npz")).items()}
        # The arrays come first: they carry no stamp, so the table's stamp must not be there before them.
        write_arrays(paths.matrices, whole)
        write_table(paths.alignment, work.joined(sweep.seeds), ALIGNMENT, parts.stamp(sweep.seeds))
        write_timings(paths, hashes)


def _measure_seed(
    work: SeedWork, seed: int, table: GrowingTable, steps: Sequence[int], settings: Measure, device: torch.device
) -> dict[str, np.ndarray]:
    """Add the missing checkpoints of one run to its table, and return the arrays for the figures.

    The first, the middle and the last checkpoint are measured in any case: the figures show them, and the others are
    compared with the first.
    """
    cell = work.cell
    materials = load_data(cell, seed, device)
    inputs = materials.x_train[materials.order[: settings.samples]]
    model = build_model(cell, seed, device)
    arrays: dict[str, np.ndarray] = {}
    initial: dict[str, LayerCovariance] = {}
    like = None
    coupled, decoupled = _decays(cell)
    heads = settings.heads and cell.may_have_heads
    compared = {part for quantity in chosen(settings.quantities) for part in quantity.compares}
    ends = steps[0], steps[-1]
    pictured = {*ends, steps[len(steps) // 2]}
    with work.checkpoints(seed, table, model, again=pictured) as loaded:
        for step in loaded:
            found = measure_covariances(
                model, inputs, estimator=settings.estimator, probes=settings.probes, seed=seed, heads=heads, like=like
            )
            measured, like = found.layers, found.survey
            initial = initial or measured
            if step == 0 and compared & {LOSS_GRADIENT, MOTION}:
                gradients = _start(cell, seed, model, materials, heads=heads)
            elif step > 0 and LOSS_GRADIENT in compared:
                gradients = _later(cell, model, materials, heads=heads)
            else:
                gradients = {}
            rows = frame(
                measured,
                initial=initial,
                **gradients,
                weight_decay=coupled,
                decoupled_decay=decoupled,
                quantities=settings.quantities,
                seed=seed,
                step=step,
            )
            table.add(step, rows)
            if step in pictured:
                for name, layer in measured.items():
                    drawn = left_pictures(layer)
                    if step in ends:
                        drawn |= pictures(layer.weight, layer.covariance)
                    arrays |= {f"{seed}/{step}/{name}/{kind}": array for kind, array in drawn.items()}
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
    """Return the weight decay of a cell's optimizer, coupled and decoupled; at least one is 0."""
    entry = cell.optimizer_entry
    return entry.weight_decay(cell.optimizer), entry.decoupled_decay(cell.optimizer)


def _start(cell: Cell, seed: int, model: torch.nn.Module, materials: Materials, *, heads: bool) -> dict[str, Any]:
    """Return the arguments of ``frame`` for step 0: the directions along which its limits are taken."""
    start = StartGradients.of(cell, seed, model, materials, heads=heads).start(cell, model)
    return {"gradients": start.gradients, "instead": start.instead, "updates": start.updates}


def _later(cell: Cell, model: torch.nn.Module, materials: Materials, *, heads: bool) -> dict[str, Any]:
    """Return the arguments of ``frame`` for a later step: the gradient of the training loss, which FACT needs."""
    if _decays(cell)[0] == 0:
        return {}
    loss = training_loss(cell)
    return {"gradients": weight_gradients(model, materials.x_train, materials.y_train, loss, heads=heads)}
