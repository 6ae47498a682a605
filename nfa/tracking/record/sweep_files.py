"""Read a sweep's aggregated results for its summary run, and name the file bundles that are published unchanged."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from nfa.errors import UserError
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_written
from nfa.sweep.cells import Cell, Sweep
from nfa.tracking.record.bundle import Bundle
from nfa.tracking.record.run import RunRecord
from nfa.tracking.record.sweep_run import TABLES, build_sweep_record, content_of


def configuration_bundles(sweep: Sweep) -> tuple[Bundle, ...]:
    """Return the bundle that holds the sweep file; none if artifacts are turned off."""
    if not sweep.wandb.artifacts:
        return ()
    text = json.dumps(content_of(sweep), indent=1, sort_keys=True) + "\n"
    return (Bundle(f"{sweep.name}-configuration", "configuration", {"sweep.json": text}),)


def checkpoint_bundles(sweep: Sweep, cell: Cell, seed: int, paths: SweepPaths) -> tuple[Bundle, ...]:
    """Return the bundle of a run's checkpoints; none if offline, turned off, or larger than ``checkpoints_mb``."""
    if sweep.wandb.mode != "online" or not sweep.wandb.artifacts or sweep.wandb.checkpoints_mb == 0:
        return ()
    folder = paths.cell(cell.id).checkpoint(seed, 0).parent
    files = {file.name: file for file in sorted(folder.glob("step-*.safetensors"))}
    if not files or sum(file.stat().st_size for file in files.values()) > sweep.wandb.checkpoints_mb * 1e6:
        return ()
    name = f"checkpoints-{cell.id.rpartition('.')[2]}-s{seed}"
    return (Bundle(name, "checkpoints", files),)


def sweep_is_aggregated(sweep: Sweep, paths: SweepPaths) -> bool:
    """Return True if the aggregated tables and the report exist and hold exactly this sweep's runs.

    Another sweep file may have the same name, or this file may have changed since the aggregation.
    """
    if not paths.report.exists() or not all(table_path(paths, name).exists() for name in TABLES):
        return False
    try:
        runs = pq.read_table(table_path(paths, "runs"), columns=["cell", "seed"]).to_pydict()
    except (OSError, ValueError):  # damaged (pyarrow raises ValueErrors); `read_sweep_record` reports it
        return True
    there = set(zip(runs["cell"], runs["seed"], strict=True))
    return there == {(cell.id, seed) for cell in sweep.cells for seed in sweep.seeds}


def table_path(paths: SweepPaths, name: str) -> Path:
    """Return the file of an aggregated table."""
    return paths.tables / f"{name}.parquet"


def sweep_files_digest(paths: SweepPaths) -> str:
    """Hash the aggregated tables, from which the summary run, the figures and the report page are made."""
    total = hashlib.sha256()
    for name in TABLES:
        total.update(hashlib.sha256(table_path(paths, name).read_bytes()).digest())
    return total.hexdigest()


def read_sweep_record(sweep: Sweep, paths: SweepPaths) -> RunRecord:
    """Read the aggregated tables, figures and report page, and lay out the summary run.

    Raises:
        UserError: A file is damaged.
    """
    figures = {file.stem: _pixels(file) for file in sorted(paths.figures.glob("*.png"))}
    checkpoints = [
        bundle
        for cell in sweep.cells
        for seed in sweep.seeds
        for bundle in checkpoint_bundles(sweep, cell, seed, paths)
    ]
    tables = {f"{name}.parquet": table_path(paths, name) for name in TABLES}
    makes = [
        Bundle(f"{sweep.name}-tables", "tables", tables),
        Bundle(f"{sweep.name}-report", "report", {"report.html": paths.report}),
    ]
    return build_sweep_record(
        sweep,
        {name: read_written(table_path(paths, name)) for name in TABLES},
        figures,
        paths.report.read_text(encoding="utf-8"),
        made_of=[*configuration_bundles(sweep), *checkpoints],
        makes=makes if sweep.wandb.artifacts else [],
    )


def _pixels(file: Path) -> np.ndarray:
    """Read a figure as an array, height x width x 3 (red, green, blue), uint8.

    Raises:
        UserError: The file is damaged.
    """
    try:
        return np.asarray(Image.open(file).convert("RGB"))
    except (OSError, SyntaxError):  # Pillow raises SyntaxError for a broken PNG
        raise UserError(f"{file}: damaged; `nfa aggregate` writes it again") from None
