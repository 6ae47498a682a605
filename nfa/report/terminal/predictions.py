"""The tables that ``nfa predict`` prints."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nfa.conventions import CONTROLS, Convention
from nfa.report.numbers import number, plus_minus
from nfa.report.statistics.intervals import over_seeds
from nfa.report.statistics.labels import cell_labels, layer_label
from nfa.report.statistics.runs import at_convention
from nfa.sweep.cells import Sweep

NUMBER = len("0.95 ± 0.01 (0.90)")  # letters of a column
GAP = 2  # letters between columns
LIMIT = "limit t -> 0+"  # beginning of notes in the table
PLACE = ["cell", "layer_index", "layer", "depth_from_output", "quantity"]
# Heading of a table -> its quantity along gradient flow, and along the optimizer's first update.
PREDICTED = {"C-NFC(0+)": ("c_nfc", "c_nfc_update"), "directional": ("c_directional", "c_directional_update")}
_CONTROLS = {quantity: CONTROLS[quantity].mean for pair in PREDICTED.values() for quantity in pair}


def prediction_report(sweep: Sweep, table: pd.DataFrame, convention: Convention, width: int) -> Group:
    """Lay out the predicted early C-NFC: a row per layer, a column for gradient flow and for each optimizer.

    A second table has the directional factor of C-NFC (cosine, power 1). Both have their controls in brackets; the
    lines below the tables say why a value or a control is n/a.

    Args:
        sweep: The sweep, which names the cells.
        table: The table that ``nfa.stages.predict`` returned.
        convention: Convention of the numbers shown.
        width: Letters in a line of the terminal; columns that do not fit go into a further table below.
    """
    labels = cell_labels(sweep).set_index("cell")
    labels = labels[labels.index.isin(table["cell"].unique())]
    factors = table["correlation"].isna() & table["power"].isna()
    shown = table[at_convention(table, convention) | factors]
    means = over_seeds(shown, PLACE)
    seeds = table["seed"].nunique()
    spread = f"mean over {seeds} seeds ± half of the 95% interval" if seeds > 1 else "1 seed"
    estimators = " and ".join(sorted(set(table["estimator"])))
    samples = " or ".join(f"{n:,}" for n in sorted(set(table["n"])))
    parts: list[RenderableType] = [
        Text(f"C-NFC(0+), predicted at initialisation: {convention}; {spread}", "dim"),
        Text(f"K: {estimators}, n = {samples} training samples; gradients: all training samples", "dim"),
        Text(
            "in brackets the control: the same with K turned at random; directional: the factor of C-NFC, power 1",
            "dim",
        ),
    ]
    for group, cells in labels.groupby("group", sort=False):
        parts += [Text(""), Text(str(group), "bold")]
        here = means[means["cell"].isin(cells.index)]
        for heading, (flow, update) in PREDICTED.items():
            columns = _flows(_beside_control(here, flow), shown, cells["optimizer"])
            updates = _beside_control(here, update)
            for cell, optimizer in cells["optimizer"].items():
                columns[str(optimizer)] = updates[updates["cell"] == cell]
            parts += _tables(heading, columns, width)
    values = shown[shown["quantity"].isin(list(_CONTROLS))]
    controls = shown[shown["quantity"].isin(_CONTROLS.values())]
    places = ["cell", "seed", "layer", "quantity"]
    given = pd.MultiIndex.from_frame(values.loc[np.isfinite(values["value"]), places].replace({"quantity": _CONTROLS}))
    lines = _reasons("n/a", values)
    lines += _reasons("no control", controls[pd.MultiIndex.from_frame(controls[places]).isin(given)])
    if convention.power != "1":
        lines.append("no control of C-NFC: it is computed at power 1 only")
    return Group(*parts, *(Text(line, "dim") for line in lines))


def _beside_control(means: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return the rows of a quantity, with its control in the column ``control``; NaN where it has none."""
    control = means.loc[means["quantity"] == CONTROLS[quantity].mean, ["cell", "layer", "mean"]]
    found = means[means["quantity"] == quantity]
    return found.merge(control.rename(columns={"mean": "control"}), on=["cell", "layer"], how="left", validate="1:1")


def _flows(means: pd.DataFrame, table: pd.DataFrame, optimizers: "pd.Series[str]") -> dict[str, pd.DataFrame]:
    """Make a column of each flow. Cells of a group share one flow, unless they differ in more (such as the loss).

    Args:
        means: Means over seeds of the group's cells, of the quantity that is shown.
        table: Rows of all cells with their notes.
        optimizers: Cell -> label of its optimizer, for the cells of the group.
    """
    found: dict[str, pd.DataFrame] = {}
    for cell in map(str, optimizers.index):
        part = means[means["cell"] == cell]
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


def _tables(heading: str, columns: dict[str, pd.DataFrame], width: int) -> list[RenderableType]:
    """Lay out all columns of one quantity, in as many tables as the width needs."""
    first = next(iter(columns.values()))
    layers = {
        layer: layer_label(layer, depth)
        for layer, depth in zip(first["layer"], first["depth_from_output"], strict=True)
    }
    names = max(map(len, (heading, *layers.values())))
    names = min(names, max(width // 3, len(heading)))
    per_table = max(1, (width - names - GAP) // (NUMBER + GAP))
    titles = list(columns)
    parts = [titles[start : start + per_table] for start in range(0, len(titles), per_table)]
    return [_table(heading, layers, {title: columns[title] for title in part}, names) for part in parts]


def _table(heading: str, layers: Mapping[str, str], columns: dict[str, pd.DataFrame], names: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    table.add_column(heading, overflow="fold", width=names)
    for title in columns:
        table.add_column(title, justify="right", overflow="fold", width=NUMBER)
    values = {title: part.set_index("layer") for title, part in columns.items()}
    for layer, label in layers.items():
        table.add_row(Text(label), *(_number(part.loc[layer]) for part in values.values()))
    return table


def _number(row: Any) -> str:
    """Write a mean, half of its interval, and the control in brackets."""
    value = plus_minus(row["mean"], row["ci_high"] - row["mean"])
    return f"{value} ({number(row['control'])})" if np.isfinite(row["mean"]) else value


def _reasons(what: str, table: pd.DataFrame) -> list[str]:
    """Write one line for each reason why values are undefined, with its layers; ``what`` begins it."""
    undefined = table[~np.isfinite(table["value"])]
    reasons: dict[str, list[str]] = {}
    for layer, note in undefined[["layer", "note"]].drop_duplicates().itertuples(index=False):
        limit, _, reason = str(note).partition(": ")
        reason = reason if limit.startswith(LIMIT) and reason else str(note)
        reasons.setdefault(reason.removeprefix(f"{what}: "), []).append(str(layer))
    return [f"{what} at {', '.join(dict.fromkeys(layers))}: {reason}" for reason, layers in reasons.items()]
