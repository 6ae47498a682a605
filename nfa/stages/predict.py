"""``nfa predict``: the early C-NFC of every cell and layer, computed before training. It uses no results on disk."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch

from nfa.alignment import measure_covariances
from nfa.digests import digest
from nfa.jobs.progress import progress_bar
from nfa.storage.columns import ALIGNMENT
from nfa.storage.tables import write_output
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.sections import Measure
from nfa.theory.limit import limit_frame
from nfa.training import build_model, load_data
from nfa.training.start import StartGradients


def predict(sweep: Sweep, cells: Sequence[Cell], seeds: Sequence[int], device: torch.device) -> pd.DataFrame:
    """Predict the early C-NFC of cells from the data and the initial weights that the sweep would use.

    Args:
        sweep: The sweep; its ``measure`` settings give the samples and the estimator of K.
        cells: The cells.
        seeds: The seeds.
        device: Device to compute on.

    Returns:
        Rows of the alignment table at step 0, the same as the sweep's, with a first column ``cell``: the quantities of
        ``nfa.theory.limit``, ``c_nfc`` (gradient flow, or the learning rule's) and ``c_nfc_update`` (the optimizer in
        use) with their controls and factors.
    """
    frames: dict[tuple[str, int], pd.DataFrame] = {}
    with progress_bar(f"predict {sweep.name}", len(cells) * len(seeds)) as bar:
        for group in _groups_by_start(cells):
            for seed in seeds:
                for cell, table in _predict_group(group, seed, sweep.measure, device):
                    frames[cell.id, seed] = table
                    bar.update(len(frames))
    tables = [frames[cell.id, seed].assign(cell=cell.id) for cell in cells for seed in seeds]
    joined = pd.concat(tables, ignore_index=True)
    return joined[["cell", *(column for column in joined.columns if column != "cell")]]


def write_predictions(path: Path, table: pd.DataFrame) -> None:
    """Write predictions as .parquet or .csv, whole or not at all."""
    write_output(path, table, pa.schema([("cell", pa.string()), *ALIGNMENT]))


def _groups_by_start(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Group the cells that start from the same network, data and gradients, and differ in the optimizer alone."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        train = {key: cell.parameters()["train"][key] for key in ("loss", "decoupling", "rule", "rho")}
        start = {"data": cell.content["data"], "model": cell.content["model"], "train": train}
        groups.setdefault(digest(start), []).append(cell)
    return list(groups.values())


def _predict_group(
    cells: Sequence[Cell], seed: int, settings: Measure, device: torch.device
) -> Iterator[tuple[Cell, pd.DataFrame]]:
    """Measure one initial network as ``measure`` does at step 0, with the first step of each cell's optimizer."""
    materials = load_data(cells[0], seed, device)
    inputs = materials.x_train[materials.order[: settings.samples]]
    model = build_model(cells[0], seed, device)
    layers = measure_covariances(model, inputs, estimator=settings.estimator, probes=settings.probes, seed=seed).layers
    gradients = StartGradients.of(cells[0], seed, model, materials)
    for cell in cells:
        start = gradients.start(cell, model)
        yield (
            cell,
            limit_frame(layers, gradients=start.gradients, instead=start.instead, updates=start.updates, seed=seed),
        )
