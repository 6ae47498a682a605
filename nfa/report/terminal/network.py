"""The tables that ``nfa check`` and ``nfa measure`` print about one network."""

import math
from collections.abc import Mapping

import pandas as pd
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nfa.conventions import CONTROLS, HEADLINES
from nfa.report.numbers import plus_minus, significant
from nfa.report.statistics.labels import layer_label, quantity_labels

DIGITS = 3
DIRECTIONAL = "directional"  # the name is a shorter heading than its label


def check_report(table: pd.DataFrame) -> Group:
    """Lay out the result of ``nfa.check``.

    Args:
        table: The table that ``nfa.check`` returned.
    """
    title = "relative error of W^T K W against the average gradient outer product"
    # A column whose value is the same for all layers gets no room in the table.
    columns = [name for name in ("compared", "note") if table[name].nunique() > 1]
    titles = [Text(title, "dim")]
    if "note" not in columns and table.note.any():
        titles.append(Text(table.note.iloc[0], "dim"))
    shown = _table()
    for name in ("layer", "W", "error", "", *columns):
        numbers = name in ("W", "error")
        shown.add_column(name, overflow="fold", no_wrap=numbers, justify="right" if numbers else "left")
    for row in table.to_dict("records"):
        verdict = Text("passed", "green") if row["passed"] else Text("FAILED", "bold red")
        values = [row[name] for name in columns]
        shown.add_row(Text(row["layer"]), row["shape"], significant(row["error"], 2), verdict, *values)
    failed = int((~table.passed).sum())
    layers = "layer" if len(table) == 1 else "layers"
    text = f"{failed} of {len(table)} {layers} failed." if failed else f"{len(table)} {layers} passed."
    verdict = Text(text, "bold red" if failed else "bold")
    return Group(*titles, shown, *left_out_lines(table.attrs["left_out"]), verdict)


def measure_report(table: pd.DataFrame, correlation: str, power: str, *, centred: bool) -> Group:
    """Lay out the correlations of every layer in one convention.

    Args:
        table: The table that ``nfa.measure`` returned.
        correlation: The convention's correlation.
        power: The convention's power of the AGOP.
        centred: Show C-NFC, too.

    Each is beside its control ± the standard deviation of the control over rotations of K, and so is the directional
    factor, which has no convention.
    """
    headings = _headings(centred=centred)
    estimator = table.estimator.iloc[0]
    title = (
        f"{correlation}, power {power}; {estimator}, n = {table.n.iloc[0]:,}; ±: standard error; "
        "of a control: standard deviation over random rotations of K"
    )
    shown = _table()
    shown.add_column("layer", overflow="fold")
    for heading in headings.values():
        shown.add_column(heading, justify="right", min_width=len(heading))
        shown.add_column("control", justify="right")
    rows = table[table.correlation.isna() | table.correlation.eq(correlation)]
    rows = rows[rows.power.isna() | rows.power.eq(power)]
    notes: dict[str, None] = {}
    for _, part in rows.groupby("layer_index", sort=True):
        found = part.set_index("quantity")
        name = layer_label(part.layer.iloc[0], part.depth_from_output.iloc[0])
        shown.add_row(Text(name), *(text for quantity in headings for text in _beside_control(found, quantity)))
        for quantity, heading in headings.items():
            if found.note[quantity]:
                notes[f"{heading}: {found.note[quantity]}"] = None
    # A title of the table itself would be wrapped to the table's width.
    return Group(
        Text(title, "dim"), shown, *(Text(note, "dim") for note in notes), *left_out_lines(table.attrs["left_out"])
    )


def _headings(*, centred: bool) -> dict[str, str]:
    """Choose the quantities that are shown, C-NFC where it is asked for: quantity -> heading."""
    labels = quantity_labels(["uc_nfc", "c_nfc"]) | {DIRECTIONAL: DIRECTIONAL}
    return {name: labels[name] for name in HEADLINES if centred or name != "c_nfc"}


def _beside_control(found: pd.DataFrame, quantity: str) -> tuple[str, str]:
    """Write a quantity with its standard error, and its control with its spread, of the rows of one layer.

    C-NFC has a control, and controls have a spread, at power 1 only.
    """
    control, spread = (found.value.get(name, math.nan) for name in CONTROLS[quantity])
    return _with_error(found.value[quantity], found.stderr[quantity]), _with_error(control, spread, 2)


def left_out_lines(left_out: Mapping[str, str]) -> list[RenderableType]:
    """Name the weights that are not measured, with their reasons."""
    if not left_out:
        return []
    lines = (Padding(Text(f"{name}: {reason}"), (0, 0, 0, 2), expand=False) for name, reason in left_out.items())
    return [Text("Not measured:", "bold"), *lines]


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def _with_error(value: float, error: float, digits: int = DIGITS) -> str:
    """Write a value and its error; an exact value has none."""
    return plus_minus(value, error or math.nan, digits)
