"""Results in the true format, made without training: for tests of what reads them, at any size.

python -m tests.fake_results CONFIG FOLDER      writes FOLDER/<sweep>/<cell>/...
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import CORRELATIONS
from nfa.digests import KEY, sealed
from nfa.storage.arrays import write_arrays
from nfa.storage.atomic import write_text
from nfa.storage.columns import ALIGNMENT, HISTORY, PROBES, TIMINGS
from nfa.storage.documents import cell_document
from nfa.storage.finished_seeds import Parts
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.storage.tables import write_table
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.grid import load

MADE_WITH = {"nfa": "0", "packages": {"torch": "2.13.0"}, "commit": "0" * 40, "device": "cpu", "threads": 1}
SCALARS = ("relative_change", "stable_rank_nfm", "stable_rank_agop", "stable_rank_k", "subspace_overlap", "commutator")


def history_of(cell: Cell, seed: int, draw: np.random.Generator) -> pd.DataFrame:
    """Losses that fall with the logarithm of the step, and accuracies that rise where there are classes."""
    steps = cell.train.checkpoint_steps(cell.shape.n_train)
    rows = []
    for step in steps:
        progress = np.log1p(step) / np.log1p(steps[-1])
        for split in ("train", "test"):
            rows.append((seed, step, step / 40, split, "loss", 0.09 * (1 - 0.8 * progress) + 0.002 * draw.random()))
            if cell.shape.classes:
                rows.append((seed, step, step / 40, split, "accuracy", 0.1 + 0.7 * progress + 0.02 * draw.random()))
        rows.append((seed, step, step / 40, "train", "lr", 0.1))
    return pd.DataFrame(rows, columns=HISTORY.names)


def alignment_of(cell: Cell, seed: int, draw: np.random.Generator) -> pd.DataFrame:
    """Every quantity, correlation and power of every layer and checkpoint, rising over training."""
    steps = cell.train.checkpoint_steps(cell.shape.n_train)
    count, rows = len(cell.layers), []
    for step in steps:
        progress = np.log1p(step) / np.log1p(steps[-1])
        for index, layer in enumerate(cell.layers):
            depth = count - 1 - index
            exponents = {"1": 1.0, "1/2": 0.5, "depth": 1.0 / (depth + 1)}

            def row(quantity: str, correlation: str | None, power: str | None, value: float, note: str = "") -> None:
                exponent = exponents[power] if power else np.nan  # noqa: B023
                place = (seed, step, layer.name, index, depth)  # noqa: B023
                rows.append((*place, quantity, correlation, power, exponent, value, 0.0, "exact", 1000, note))

            for correlation in CORRELATIONS:
                for power in exponents:
                    value = 0.3 + 0.5 * progress * (1 - 0.1 * depth) + 0.03 * draw.random()
                    row("uc_nfc", correlation, power, value)
                    row("c_nfc", correlation, power, value + 0.1, "" if step else "limit t -> 0+, gradient flow")
                    if not step:
                        row(
                            "c_nfc_update",
                            correlation,
                            power,
                            value + 0.05,
                            "limit t -> 0+, along the optimizer's first update",
                        )
                row("dc_nfc", correlation, "1", value if step else np.nan, "" if step else "0/0: W is W0")
                row("w0_nfc", correlation, "1", 0.3)
                row("haar_nfc", correlation, "1", 0.25)
                row("haar_nfc_sd", correlation, "1", 0.02)
                row("c_haar_nfc", correlation, "1", 0.35, "" if step else "limit t -> 0+, gradient flow")
                row("c_haar_nfc_sd", correlation, "1", 0.03, "" if step else "limit t -> 0+, gradient flow")
                if not step:
                    along = "limit t -> 0+, along the optimizer's first update"
                    row("c_haar_nfc_update", correlation, "1", 0.32, along)
                    row("c_haar_nfc_update_sd", correlation, "1", 0.03, along)
                row("fact", correlation, None, np.nan, "weight decay is 0")
                power = exponents["depth"] * (1.5 - 0.5 * progress) + 0.02 * draw.random()
                for part, value in (("power", power), ("low", power / 2), ("high", 2 * power)):
                    row(f"depth_law_{part}", correlation, None, value)
                row("depth_law_fit", correlation, None, 0.9 + 0.05 * progress)
            for factor, chance in (("directional", 0.45), ("spectral", 0.8)):
                row(factor, None, None, chance + 0.4 * progress * (1 - 0.1 * depth) + 0.02 * draw.random())
                row(f"{factor}_haar", None, None, chance)
                row(f"{factor}_haar_sd", None, None, 0.05)
            for quantity in SCALARS:
                row(quantity, None, None, 0.5 + 0.1 * draw.random())
            row("spectrum_slope", None, None, depth * (0.5 + 0.5 * progress))
    return pd.DataFrame(rows, columns=ALIGNMENT.names)


def probes_of(cell: Cell, seed: int, draw: np.random.Generator) -> pd.DataFrame:
    """Scores of features that rise with training, and the raw-input baselines."""
    metric, rows = ("accuracy" if cell.shape.classes else "r2"), []
    for split in ("train", "test"):
        rows.append((seed, 0, "input", "ridge", "input, flattened", split, metric, 0.5, 0.01, np.nan, ""))
        rows.append((seed, 0, "input", "kernel_identity", "input, flattened", split, metric, 0.55, 0.001, 9.0, ""))
        rows.append((seed, 0, "input", "rfm", "input, flattened", split, metric, 0.75, 0.001, 9.0, ""))
        steps = cell.train.checkpoint_steps(cell.shape.n_train)
        for step in steps:
            for index, layer in enumerate(cell.layers):
                score = 0.5 + 0.3 * np.log1p(step) / np.log1p(steps[-1]) - 0.02 * index + 0.02 * draw.random()
                about = "output of the layer"
                rows.append((seed, step, layer.name, "ridge", about, split, metric, score, 0.01, np.nan, ""))
                rows.append((seed, step, layer.name, "linearity", about, split, "r2", score - 0.1, 0.1, np.nan, ""))
                geometry = {
                    "kernel_alignment": 0.3,
                    "kernel_alignment_centred": score - 0.2,
                    "scatter_ratio": 3 - score,
                }
                for name, value in geometry.items():
                    rows.append((seed, step, layer.name, "geometry", about, split, name, value, np.nan, np.nan, ""))
                if index == 0 and step in (0, steps[-1]):
                    for kernel, more in (("kernel_nfm", 0.05), ("kernel_agop", 0.1)):
                        about = "input of the layer"
                        learned = (seed, step, layer.name, kernel, about, split, metric)
                        rows.append((*learned, score + more, 0.001, 9.0, ""))
    if not cell.shape.classes:
        for step in steps:
            for name in ("nfm_trace_share", "agop_trace_share", "agop_target_correlation"):
                place = (seed, step, cell.layers[0].name, "recovery", "weights", "train")
                rows.append((*place, name, 0.2 + 0.6 * np.log1p(step) / np.log1p(steps[-1]), np.nan, np.nan, ""))
    return pd.DataFrame(rows, columns=PROBES.names)


def matrices_of(cell: Cell, seed: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Symmetric matrices with a bright corner where d <= 256, diagonals and eigenvectors beyond."""
    arrays: dict[str, np.ndarray] = {}
    for step in (0, cell.train.checkpoint_steps(cell.shape.n_train)[-1]):
        for layer in cell.layers:
            d, key = layer.fan_in, f"{seed}/{step}/{layer.name}"
            for name in ("nfm", "agop"):
                if d <= 256:
                    factor = draw.standard_normal((d, d)) / np.sqrt(d)
                    factor[: min(d, 5)] *= 3
                    arrays[f"{key}/{name}"] = (factor.T @ factor).astype(np.float32)
                else:
                    arrays[f"{key}/{name}_diagonal"] = draw.random(d).astype(np.float32)
                    arrays[f"{key}/{name}_eigenvectors"] = (draw.standard_normal((4, d)) / np.sqrt(d)).astype(
                        np.float32
                    )
                arrays[f"{key}/{name}_spectrum"] = np.sort(draw.random(min(d, layer.fan_out)))[::-1].astype(np.float32)
            arrays[f"{key}/k_spectrum"] = np.sort(draw.random(layer.fan_out))[::-1].astype(np.float32)
    return arrays | left_of(cell, seed)


def left_of(cell: Cell, seed: int) -> dict[str, np.ndarray]:
    """K in the left singular basis at three checkpoints: a falls from 1 to 1/n, kappa is a at first and a^2 at last."""
    arrays: dict[str, np.ndarray] = {}
    steps = cell.train.checkpoint_steps(cell.shape.n_train)
    for power, step in zip((1.0, 1.5, 2.0), (steps[0], steps[len(steps) // 2], steps[-1]), strict=True):
        for layer in cell.layers:
            key, size = f"{seed}/{step}/{layer.name}", min(layer.fan_in, layer.fan_out)
            strengths = 1 / np.arange(1, size + 1, dtype=np.float32)
            root = strengths[:32] ** (power / 2)
            arrays[f"{key}/left_k"] = root[:, None] * root * np.where(np.eye(len(root)), 1, np.float32(0.3))
            arrays[f"{key}/strengths"], arrays[f"{key}/kappa"] = strengths, 5 * strengths**power
    return arrays


def early_of(cell: Cell, seed: int) -> dict[str, np.ndarray]:
    """Curves of gradient flow: norms measured as t^2 (1 + t) beside t^2 and t^2 (1 + 0.9 t); C-NFC stays at 0.5."""
    times = np.geomspace(0.01, 1, 20)
    growth = {"measured": times, "leading": 0 * times, "next": 0.9 * times}
    arrays = {}
    for layer in cell.layers:
        arrays[f"{seed}/0/{layer.name}/early_times"] = times
        for source, more in growth.items():
            norm, flat = times**2 * (1 + more), np.full(len(times), 0.5)
            arrays[f"{seed}/0/{layer.name}/early_{source}"] = np.column_stack([norm, norm, flat, flat, flat])
    return arrays


def runs_of(sweep: Sweep, cell: Cell) -> dict[str, object]:
    """What cell.json says of each seed's run."""
    steps = cell.train.checkpoint_steps(cell.shape.n_train)
    constant = {"train_loss": 0.09, "test_loss": 0.09, "test_accuracy": 0.1 if cell.shape.classes else None}
    run = {"status": "finished", "last_step": steps[-1], "checkpoints": steps, "constant_predictor": constant}
    return {str(seed): run for seed in sweep.seeds}


def write(sweep: Sweep, folder: Path) -> SweepPaths:
    """Write every cell of a sweep below ``folder``/<sweep>."""
    paths = SweepPaths(folder / sweep.name)
    for cell in sweep.cells:
        here = paths.cell(cell.id)
        draw = np.random.default_rng(int(cell.id.rpartition(".")[2], 16))
        parts = [
            (history_of(cell, s, draw), alignment_of(cell, s, draw), probes_of(cell, s, draw)) for s in sweep.seeds
        ]
        history, alignment, probes = (pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True))
        stamps = {stage: Parts(here, stage, h).stamp(sweep.seeds) for stage, h in sweep.hashes(cell).items()}
        write_table(here.history, history, HISTORY, stamps["train"])
        write_table(here.alignment, alignment, ALIGNMENT, stamps["measure"])
        write_table(here.probes, probes, PROBES, stamps["probe"])
        timings = [(stage, seed, 1.0, 300.0) for stage in ("train", "measure", "probe") for seed in sweep.seeds]
        write_table(here.timings, pd.DataFrame(timings, columns=TIMINGS.names), TIMINGS)
        arrays = {k: v for s in sweep.seeds for k, v in matrices_of(cell, s, draw).items()}
        if sweep.measure.early and cell.follows_gradient_flow:
            arrays |= {k: v for s in sweep.seeds for k, v in early_of(cell, s).items()}
        write_arrays(here.matrices, arrays)
        write_text(here.cell, json.dumps(cell_document(sweep, cell, runs_of(sweep, cell), MADE_WITH), indent=1))
    return paths


def rewrite_cell(here: CellPaths, document: dict[str, Any]) -> None:
    """Replace a cell's cell.json by a changed document, with the digest that belongs to it."""
    content = {key: value for key, value in document.items() if key != KEY}
    write_text(here.cell, json.dumps(sealed(content), indent=1))


def write_alike(sweep: Sweep, folder: Path, draw: np.random.Generator) -> SweepPaths:
    """Write every cell of a sweep with the numbers of its first one: a hundred cells a second."""
    paths = SweepPaths(folder / sweep.name)
    first = sweep.cells[0]
    parts = [(history_of(first, s, draw), alignment_of(first, s, draw), probes_of(first, s, draw)) for s in sweep.seeds]
    frames = [pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True)]
    arrays = {key: value for seed in sweep.seeds for key, value in matrices_of(first, seed, draw).items()}
    for cell in sweep.cells:
        here = paths.cell(cell.id)
        files = ((here.history, HISTORY), (here.alignment, ALIGNMENT), (here.probes, PROBES))
        for (path, schema), frame, (stage, stage_hash) in zip(files, frames, sweep.hashes(cell).items(), strict=True):
            write_table(path, frame, schema, Parts(here, stage, stage_hash).stamp(sweep.seeds))
        if cell is first:
            write_arrays(here.matrices, arrays)
        else:
            here.matrices.hardlink_to(paths.cell(first.id).matrices)
        write_text(here.cell, json.dumps(cell_document(sweep, cell, runs_of(sweep, cell), MADE_WITH), indent=1))
    return paths


if __name__ == "__main__":
    print(write(load(sys.argv[1]), Path(sys.argv[2])).folder)
