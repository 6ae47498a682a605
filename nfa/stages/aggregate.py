"""The fourth stage: all cells of a sweep -> tables, figures and the report. Imports no torch."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nfa.errors import UserError
from nfa.paths import SweepPaths
from nfa.report.collected import Collected
from nfa.report.conventions import CORRELATIONS, POWERS
from nfa.report.early import read_early
from nfa.report.page import write_report
from nfa.report.summaries import make_tables
from nfa.stages.runs import check_outputs
from nfa.sweep import Sweep
from nfa.tables import read_table, write_frame


@dataclass(frozen=True)
class AggregateSummary:
    """What a person wants to know when a sweep is done.

    Attributes:
        folder: The sweep's results.
        cells: The table ``cells_summary``.
        diverged: Cells with a run that diverged.
        not_learned: Cells with a run that did not learn, diverged ones included.
        report: The page.
    """

    folder: Path
    cells: pd.DataFrame
    diverged: tuple[str, ...]
    not_learned: tuple[str, ...]
    report: Path


def aggregate(sweep: Sweep, results: Path) -> AggregateSummary:
    """Read every cell's files below ``results``/<sweep>, write tables/, figures/ and report.html.

    Raises:
        UserError: A cell's file is missing or damaged, or lacks a seed.
    """
    paths = SweepPaths(results / sweep.name)
    collected = collect(sweep, paths)
    tables = make_tables(collected)
    for name, table in tables.items():
        write_frame(paths.tables / name, table)
    write_report(collected, tables, paths)
    cells = tables["cells_summary"]
    return AggregateSummary(
        folder=paths.folder,
        cells=cells,
        diverged=tuple(cells.loc[cells["n_diverged"] > 0, "cell"]),
        not_learned=tuple(cells.loc[~cells["learned"], "cell"]),
        report=paths.report,
    )


def collect(sweep: Sweep, paths: SweepPaths) -> Collected:
    """Read and join the files of all cells, keeping the sweep's seeds.

    Raises:
        UserError: A cell's file is missing or damaged, or lacks a seed.
    """
    documents, parts = {}, []
    for cell in sweep.cells:
        here = paths.cell(cell.id)
        check_outputs(sweep, cell, here)
        documents[cell.id] = _read(here.cell, "train", lambda path: json.loads(path.read_text(encoding="utf-8")))
        files = {"train": here.history, "measure": here.alignment, "probe": here.probes}
        parts.append([_read(path, stage, read_table) for stage, path in files.items()])
    names = [cell.id for cell in sweep.cells]
    history, alignment, probes = (_join(sweep, names, list(frames)) for frames in zip(*parts, strict=True))
    alignment["correlation"] = pd.Categorical(alignment["correlation"], CORRELATIONS)
    alignment["power"] = pd.Categorical(alignment["power"], POWERS)
    order = ["cell", "seed", "step", "layer_index", "quantity", "correlation", "power"]
    alignment = alignment.sort_values(order, kind="stable", ignore_index=True)
    return Collected(sweep, documents, history, alignment, _place_layers(alignment, probes), read_early(sweep, paths))


def _read(path: Path, stage: str, reader: Callable[[Path], Any]) -> Any:
    """Read one file of a cell.

    Raises:
        UserError: It is missing or damaged.
    """
    remedy = f"run `nfa {stage}` for the cell, or the whole pipeline with `snakemake`"
    try:
        return reader(path)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {remedy}") from None
    except (OSError, ValueError) as error:  # pyarrow's and json's errors are ValueErrors
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())[:120]}); remove it and {remedy}") from None


def _join(sweep: Sweep, names: list[str], frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate one table of all cells, with a categorical column ``cell``; repeated text becomes categorical."""
    joined = pd.concat(frames, ignore_index=True)
    cells = pd.Series(names, dtype=pd.CategoricalDtype(names)).repeat([len(frame) for frame in frames])
    joined.insert(0, "cell", cells.reset_index(drop=True))
    joined = joined[joined["seed"].isin(sweep.seeds)].reset_index(drop=True)
    for column in ("split", "metric", "quantity", "layer", "probe", "features"):
        if column in joined:
            joined[column] = joined[column].astype("category")
    return joined


def _place_layers(alignment: pd.DataFrame, probes: pd.DataFrame) -> pd.DataFrame:
    """Add ``layer_index`` and ``depth_from_output`` to probes; the raw input has neither."""
    places = alignment[["cell", "layer", "layer_index", "depth_from_output"]].drop_duplicates()
    places["layer"] = places["layer"].astype(probes["layer"].dtype)
    placed = probes.merge(places, on=["cell", "layer"], how="left", validate="m:1")
    integers = {"layer_index": "Int64", "depth_from_output": "Int64"}
    return placed.astype(integers).sort_values(["cell", "seed", "step"], kind="stable", ignore_index=True)
