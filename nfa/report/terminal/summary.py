"""The summary that ``nfa show`` prints, read from the tables of a sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from nfa.conventions import ABOVE, ABOVE_IN_SD, CONTROLS, HEADLINE, HEADLINES, NOT_REACHED
from nfa.report.numbers import interval, loss_with_interval, number, plural, plus_minus, significant
from nfa.report.statistics.chart_points import read_cells
from nfa.report.statistics.labels import name_list, shown_of
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_written

NARROW = 110  # letters in a line of the terminal
FIRST = "directional"  # the quantity whose distance above its control is shown


def summary_table(cells: pd.DataFrame, width: int | None = None) -> Table:
    """Lay out a sweep with one row per cell; of very many cells, those that the page shows.

    Args:
        cells: The table ``cells_summary``.
        width: Letters in a line of the terminal; None asks the terminal. Below ``NARROW``, names share a column, test
            losses have no intervals, and controls stand below their quantities.

    The distance above the control is that of the directional factor, the alignment that the paper's central sentence
    names.
    """
    narrow = (Console().width if width is None else width) < NARROW
    table = Table(
        title=f"NFC: {HEADLINE}, mean over hidden layers; in brackets the control: K turned at random; above: "
        f"{FIRST} less its control, also in the control's standard deviations; ±: half of the 95% interval",
        title_style="dim",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    names = ("cell",) if narrow else ("data", "model", "optimizer")
    for name in names:
        table.add_column(name, overflow="fold")
    table.add_column("seeds", overflow="fold")
    for name in ("test loss", "acc", "UC-NFC", "C-NFC", FIRST, "above", "probe"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in cells[cells["cell"].isin(shown_of(cells["cell"].tolist()))].to_dict("records"):
        table.add_row(*(_narrow_names(row) if narrow else _names(row)), _seeds(row), *_numbers(row, narrow=narrow))
    return table


def _names(row: Mapping[Any, Any]) -> list[Text]:
    optimizer = " ".join(filter(None, (row["optimizer"], row["train"])))
    return [Text(row["data"]), Text(row["model"]), Text(optimizer)]


def _narrow_names(row: Mapping[Any, Any]) -> list[Text]:
    return [Text(row["label"].replace(" · ", " "))]


def _numbers(row: Mapping[Any, Any], *, narrow: bool) -> list[str]:
    accuracy = "" if row["probe_metric"] == "r2" else number(row["test_accuracy"])
    loss = significant(row["test_loss"]) if narrow else loss_with_interval(row).replace(" ± ", "±")
    gap = "\n" if narrow else " "
    alignment = (f"{number(row[name])}{gap}({number(row[CONTROLS[name].mean])})" for name in HEADLINES)
    above, in_sd = f"{FIRST}_{ABOVE}", f"{FIRST}_{ABOVE_IN_SD}"
    distance = plus_minus(row[above], row[f"{above}_ci_high"] - row[above]).replace(" ± ", "±")
    distance += f"{gap}{number(row[in_sd], 1)} sd"
    return [loss, accuracy, *alignment, distance, number(row["best_probe"])]


def _seeds(row: Mapping[Any, Any]) -> Text:
    """Count a cell's runs, and those that diverged, did not learn, or did not reach ``train.until``."""
    weak = row["n_seeds"] - row["n_learned"] - row["n_diverged"]
    text = Text(str(row["n_seeds"]))
    if row["n_diverged"]:
        text.append(f" {row['n_diverged']} diverged", "bold red")
    if weak:
        text.append(f" {weak} not learned", "bold yellow")
    if row["n_not_reached"]:
        text.append(f" {row['n_not_reached']} {NOT_REACHED}", "bold yellow")
    return text


def shown_line(cells: pd.DataFrame, results_folder: Path) -> str:
    """Write how many of the cells the table shows; empty if it shows all."""
    shown = len(shown_of(cells["cell"].tolist()))
    if shown == len(cells):
        return ""
    whole = SweepPaths(results_folder).tables / "cells_summary.csv"
    return f"Shown: {shown} of {len(cells):,} cells, evenly spread; all are in {whole}."


def unlearned_line(cells: pd.DataFrame) -> str:
    """Name the cells that did not learn."""
    failed = cells[~cells["learned"]]
    if failed.empty:
        return f"All {len(cells)} cells learned their task." if len(cells) > 1 else "The cell learned its task."
    return (
        f"Did not learn, or diverged ({len(failed)} of {plural(len(cells), 'cell')}): {name_list(failed['label'], 8)}."
    )


def above_line(cells: pd.DataFrame) -> str:
    """Count the cells whose directional factor is above its control by more than the interval over seeds."""
    lowest = cells[f"{FIRST}_{ABOVE}_ci_low"]
    if lowest.isna().all():
        return f"Whether the {FIRST} factor is above its control, 95% over seeds: no cell has two finished seeds."
    above = lowest > 0
    others = "" if above.all() else f"; not in {name_list(cells.loc[~above, 'label'], 8)}"
    count = f"{above.sum()} of {plural(len(cells), 'cell')}"
    return f"The {FIRST} factor is above its control, 95% over seeds, in {count}{others}."


def rank_line(results_folder: Path) -> str:
    """Write the rank correlation of the directional factor above its control with probe scores, per data set."""
    ranks = read_written(SweepPaths(results_folder).tables / "features_ranks.parquet")
    chosen = ranks["quantity"].eq("directional_above_haar") & ranks["score"].eq("probe") & ranks["data"].ne("all")
    chosen &= ranks["correlation"].eq(HEADLINE.correlation) & ranks["power"].eq(HEADLINE.power)
    chosen &= ranks["depth_from_output"].isna()
    parts = [
        f"{row['data']} {interval(row['rho'], row['ci_low'], row['ci_high'])} ({_cells(row)})"
        for row in ranks[chosen].to_dict("records")
    ]
    correlations = name_list(parts, 4) if parts else "no finished runs to compare"
    return (
        "Rank correlation of the directional factor above chance with the probe score of the same layer, 95% over "
        f"cells: {correlations}."
    )


def _cells(row: Mapping[Any, Any]) -> str:
    """Count the cells of a rank correlation, and name the settings that vary among them."""
    cells = plural(row["n_cells"], "cell")
    return f"{cells}, over {row['pooled_over']}" if row.get("pooled_over") else cells


def summary(results_folder: Path, width: int | None = None) -> Group:
    """Compose the output of ``nfa show``: the table, four sentences and the path of the report."""
    cells = read_cells(results_folder)
    return Group(
        summary_table(cells, width),
        Text(shown_line(cells, results_folder)),
        Text(unlearned_line(cells), "" if cells["learned"].all() else "bold yellow"),
        Text(above_line(cells)),
        Text(rank_line(results_folder)),
        Text(f"Report: {SweepPaths(results_folder).report}", "bold"),
    )


def print_summary(results_folder: Path) -> None:
    """Print the summary of a sweep."""
    console = Console()
    console.print(summary(results_folder, console.width), soft_wrap=False)
