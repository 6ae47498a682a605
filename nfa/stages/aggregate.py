"""Stage 4: join all cells of a sweep into tables, figures and the report. Imports no torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from nfa.conventions import CORRELATIONS, POWERS
from nfa.report.page.page import write_report
from nfa.report.statistics.collected import Collected, parameter_table
from nfa.report.statistics.early_dynamics import read_early
from nfa.report.statistics.labels import cell_labels, shown_of
from nfa.report.statistics.large_sweeps import join_parts, rows_for_report, with_sweep_names
from nfa.report.statistics.layer_places import layer_places
from nfa.report.statistics.summaries import make_cell_tables, make_grid_tables, make_tables
from nfa.report.statistics.tuning import read_tuning
from nfa.storage.checks import check_cell, check_matrices, check_stamp, outputs, unreadable
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.storage.tables import LongTables, read_arrow, stamp_of, write_frame
from nfa.sweep.cells import Cell, Sweep

CELLS_AT_ONCE = 500  # cells that are read and summarised at a time, which limits memory
LONG = (  # tables with many rows per cell
    "history_summary",
    "alignment",
    "alignment_summary",
    "probes",
    "probes_summary",
    "tuning_trials",
    "early_dynamics",
    "early_departure",
    "features",
    "features_summary",
    "features_alignment",
)


@dataclass(frozen=True)
class AggregateSummary:
    """A summary of a finished sweep for a person.

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
    return write_aggregate(sweep, SweepPaths(results / sweep.name))


def write_aggregate(sweep: Sweep, paths: SweepPaths, unfinished: int = 0) -> AggregateSummary:
    """Aggregate into ``paths``; ``unfinished`` is the number of cells that ``sweep`` leaves out.

    Raises:
        UserError: A cell's file is missing or damaged, or lacks a seed.
    """
    collected, tables = collect_and_tabulate(sweep, paths)
    write_report(replace(collected, unfinished=unfinished) if unfinished else collected, tables, paths)
    cells = tables["cells_summary"]
    return AggregateSummary(
        folder=paths.folder,
        cells=cells,
        diverged=tuple(cells.loc[cells["n_diverged"] > 0, "cell"]),
        not_learned=tuple(cells.loc[~cells["learned"], "cell"]),
        report=paths.report,
    )


def collect_and_tabulate(sweep: Sweep, paths: SweepPaths) -> tuple[Collected, dict[str, pd.DataFrame]]:
    """Read all cells and write the tables; a large sweep is read ``CELLS_AT_ONCE`` cells at a time.

    Returns:
        The data that the report is made from, and all tables by name. For a sweep of more than ``CELLS_AT_ONCE`` cells
        they hold all rows of the cells that the page shows, and of the others only the rows that its sentences use.
    """
    if len(sweep.cells) <= CELLS_AT_ONCE:
        collected = collect(sweep, paths)
        tables = make_tables(collected)
    else:
        whole = cell_labels(sweep), parameter_table(sweep), tuple(sweep.swept)
        shown = set(shown_of([cell.id for cell in sweep.cells]))
        kept: list[Collected] = []
        kept_tables: dict[str, list[pd.DataFrame]] = {}
        last: list[pd.DataFrame] = []
        with LongTables(paths.tables, LONG) as long:
            for start in range(0, len(sweep.cells), CELLS_AT_ONCE):
                part = collect(replace(sweep, cells=sweep.cells[start : start + CELLS_AT_ONCE]), paths, whole)
                for name, table in make_cell_tables(part).items():
                    if name in LONG:
                        long.add(name, table)
                    rows = table if name not in LONG else table[table["cell"].isin(shown)]
                    kept_tables.setdefault(name, []).append(rows)
                    if name == "features_alignment":
                        settings = table.columns.intersection(
                            list(part.swept)
                        )  # ranks need none, and many rows are kept
                        last.append(table[table["last"]].drop(columns=settings))
                kept.append(rows_for_report(part, shown))
        collected = join_parts(sweep, kept)
        tables = {name: pd.concat(parts, ignore_index=True) for name, parts in kept_tables.items()}
        tables |= make_grid_tables(collected, tables["runs"], pd.concat(last, ignore_index=True))
    for name, table in tables.items():
        if len(sweep.cells) <= CELLS_AT_ONCE or name not in LONG:
            write_frame(paths.tables / name, table)
    return collected, tables


def collect(
    sweep: Sweep, paths: SweepPaths, whole: tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]] | None = None
) -> Collected:
    """Read and join the files of all cells, keeping the sweep's seeds.

    Args:
        sweep: The sweep, or a part of one.
        paths: The folders and files of the sweep.
        whole: Of a part: labels, parameters and names of the swept settings in the whole sweep.

    Raises:
        UserError: A cell's file is missing or damaged, or lacks a seed.
    """
    documents, parts = {}, []
    for cell in sweep.cells:
        document, tables = _read_cell(sweep, cell, paths.cell(cell.id))
        documents[cell.id] = document
        parts.append(tables)
    names = [cell.id for cell in sweep.cells]
    history, alignment, probes = (_join(sweep, names, list(tables)) for tables in zip(*parts, strict=True))
    alignment["correlation"] = pd.Categorical(alignment["correlation"], CORRELATIONS)
    alignment["power"] = pd.Categorical(alignment["power"], POWERS)
    order = ["cell", "seed", "step", "layer_index", "quantity", "correlation", "power"]
    alignment = alignment.sort_values(order, kind="stable", ignore_index=True)
    early, (tuning, trials) = read_early(sweep, paths, alignment), read_tuning(sweep, paths)
    collected = Collected(sweep, documents, history, alignment, _place_layers(alignment, probes), early, tuning, trials)
    return collected if whole is None else with_sweep_names(collected, *whole)


def _read_cell(sweep: Sweep, cell: Cell, paths: CellPaths) -> tuple[dict[str, Any], list[pa.Table]]:
    """Read a cell's document and tables, and check that they belong to the sweep.

    Raises:
        UserError: One is missing, damaged, or made with other settings or without one of the seeds.
    """
    document = check_cell(sweep, cell, paths)
    tables = []
    for stage, path in outputs(paths).items():
        try:
            table = read_arrow(path)
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            raise unreadable(sweep, cell, stage, path, error) from None
        check_stamp(sweep, cell, stage, path, stamp_of(table))
        tables.append(table.replace_schema_metadata(None))
    check_matrices(sweep, cell, paths)
    return document, tables


def _join(sweep: Sweep, names: list[str], tables: list[pa.Table]) -> pd.DataFrame:
    """Concatenate one table of all cells, with a categorical column ``cell``; repeated text becomes categorical."""
    joined: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    cells = np.repeat(np.arange(len(names)), [table.num_rows for table in tables])
    joined.insert(0, "cell", pd.Series(pd.Categorical.from_codes(cells, dtype=pd.CategoricalDtype(names))))
    joined = joined[joined["seed"].isin(sweep.seeds)].reset_index(drop=True)
    for column in ("split", "metric", "quantity", "layer", "probe", "features"):
        if column in joined:
            joined[column] = joined[column].astype("category")
    return joined


def _place_layers(alignment: pd.DataFrame, probes: pd.DataFrame) -> pd.DataFrame:
    """Add ``layer_index`` and ``depth_from_output`` to probes; the raw input has neither."""
    places = layer_places(alignment)
    places = places[places["layer"].isin(probes["layer"].cat.categories)]
    places["layer"] = places["layer"].astype(probes["layer"].dtype)
    placed = probes.merge(places, on=["cell", "layer"], how="left", validate="m:1")
    integers = {"layer_index": "Int64", "depth_from_output": "Int64"}
    return placed.astype(integers).sort_values(["cell", "seed", "step"], kind="stable", ignore_index=True)
