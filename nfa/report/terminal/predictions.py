"""The tables that ``nfa predict`` prints."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nfa.conventions import Convention
from nfa.report.numbers import plus_minus
from nfa.report.statistics.intervals import over_seeds
from nfa.report.statistics.labels import cell_labels
from nfa.report.statistics.runs import at_convention
from nfa.sweep.cells import Sweep

NUMBER = len("0.95 ± 0.01")  # letters of a column
GAP = 2  # letters between columns
LIMIT = "limit t -> 0+"  # beginning of notes in the table
PLACE = ["cell", "layer_index", "layer", "quantity"]


def prediction_report(sweep: Sweep, table: pd.DataFrame, convention: Convention, width: int) -> Group:
    """Lay out the predicted early C-NFC: a row per layer, a column for gradient flow and for each optimizer.

    Args:
        sweep: The sweep, which names the cells.
        table: The table that ``nfa.stages.predict`` returned.
        convention: Convention of the numbers shown.
        width: Letters in a line of the terminal; columns that do not fit go into a further table below.
    """
    labels = cell_labels(sweep).set_index("cell")
    labels = labels[labels.index.isin(table["cell"].unique())]
    shown = table[at_convention(table, convention)]
    means = over_seeds(shown, PLACE)
    seeds = table["seed"].nunique()
    spread = f"mean over {seeds} seeds ± half of the 95% interval" if seeds > 1 else "1 seed"
    estimators = " and ".join(sorted(set(table["estimator"])))
    samples = " or ".join(f"{n:,}" for n in sorted(set(table["n"])))
    parts: list[RenderableType] = [
        Text(f"C-NFC(0+), predicted at initialisation: {convention}; {spread}", "dim"),
        Text(f"K: {estimators}, n = {samples} training samples; gradients: all training samples", "dim"),
    ]
    for group, cells in labels.groupby("group", sort=False):
        parts += [Text(""), Text(str(group), "bold")]
        here = means[means["cell"].isin(cells.index)]
        columns = _flows(here, shown, cells["optimizer"])
        for cell, optimizer in cells["optimizer"].items():
            columns[str(optimizer)] = here[(here["quantity"] == "c_nfc_update") & (here["cell"] == cell)]
        parts += _tables(columns, width)
    return Group(*parts, *(Text(note, "dim") for note in _reasons(shown)))


def _flows(means: pd.DataFrame, table: pd.DataFrame, optimizers: "pd.Series[str]") -> dict[str, pd.DataFrame]:
    """Make a column of each flow. Cells of a group share one flow, unless they differ in more (such as the loss).

    Args:
        means: Means over seeds of the group's cells.
        table: Rows of all cells with their notes.
        optimizers: Cell -> label of its optimizer, for the cells of the group.
    """
    found: dict[str, pd.DataFrame] = {}
    for cell in map(str, optimizers.index):
        part = means[(means["quantity"] == "c_nfc") & (means["cell"] == cell)]
        if not any(_same(part, other) for other in found.values()):
            found[cell] = part
    names = {cell: "gradient flow" if _by_gradient(table, cell) else "the rule's flow" for cell in found}
    if len(found) == 1:
        return {names[cell]: part for cell, part in found.items()}
    return {f"{names[cell]}, {optimizers[cell]}": part for cell, part in found.items()}


def _same(part: pd.DataFrame, other: pd.DataFrame) -> bool:
    return np.array_equal(part["mean"].to_numpy(float), other["mean"].to_numpy(float), equal_nan=True)


def _by_gradient(table: pd.DataFrame, cell: object) -> bool:
    """Return True if the flow of a cell is gradient flow, according to the note of its limit."""
    notes = table.loc[(table["cell"] == cell) & (table["quantity"] == "c_nfc"), "note"]
    return bool(notes.str.contains("gradient flow").any())


def _tables(columns: dict[str, pd.DataFrame], width: int) -> list[RenderableType]:
    """Lay out all columns, in as many tables as the width needs."""
    first = next(iter(columns.values()))
    names = max(len("layer"), *(len(name) for name in first["layer"]))
    names = min(names, max(width // 3, len("layer")))
    per_table = max(1, (width - names - GAP) // (NUMBER + GAP))
    titles = list(columns)
    return [
        _table(first["layer"].tolist(), {title: columns[title] for title in titles[start : start + per_table]}, names)
        for start in range(0, len(titles), per_table)
    ]


def _table(layers: Sequence[str], columns: dict[str, pd.DataFrame], names: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    table.add_column("layer", overflow="fold", width=names)
    for title in columns:
        table.add_column(title, justify="right", overflow="fold", width=NUMBER)
    values = {title: part.set_index("layer") for title, part in columns.items()}
    for layer in layers:
        table.add_row(Text(layer), *(_number(part.loc[layer]) for part in values.values()))
    return table


def _number(row: Any) -> str:
    return plus_minus(row["mean"], row["ci_high"] - row["mean"])


def _reasons(table: pd.DataFrame) -> list[str]:
    """Write one line for each reason why values are undefined, with its layers."""
    undefined = table[~np.isfinite(table["value"])]
    reasons: dict[str, list[str]] = {}
    for layer, note in undefined[["layer", "note"]].drop_duplicates().itertuples(index=False):
        limit, _, reason = str(note).partition(": ")
        reasons.setdefault(reason if limit.startswith(LIMIT) and reason else str(note), []).append(str(layer))
    return [f"n/a at {', '.join(dict.fromkeys(layers))}: {reason}" for reason, layers in reasons.items()]
