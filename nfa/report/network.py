"""Tables for the terminal about one network: what ``nfa check`` and ``nfa measure`` print."""

import math
from collections.abc import Mapping

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from nfa.report.markup import number, significant

DIGITS = 3
_HEADINGS = {"uc_nfc": "UC-NFC", "haar_nfc": "control", "c_nfc": "C-NFC"}


def check_report(table: pd.DataFrame) -> Group:
    """Show the result of ``nfa.check``.

    Args:
        table: What it returned.
    """
    title = Text("W^T K W against the average gradient outer product, relative error", "dim")
    shown = _table()
    for name in ("layer", "W", "error", "compared", "", "note"):
        shown.add_column(name, overflow="fold", justify="right" if name == "error" else "left")
    if not table.note.any():
        shown.columns.pop()
    for row in table.to_dict("records"):
        verdict = Text("passed", "green") if row["passed"] else Text("FAILED", "bold red")
        cells = [Text(row["layer"]), row["shape"], significant(row["error"], 2), row["compared"], verdict, row["note"]]
        shown.add_row(*cells[: len(shown.columns)])
    failed = int((~table.passed).sum())
    text = f"{failed} of {len(table)} layers fail." if failed else f"All {len(table)} layers pass."
    return Group(title, shown, *left_out_lines(table.attrs["left_out"]), Text(text, "bold red" if failed else "bold"))


def measure_report(table: pd.DataFrame, correlation: str, power: str, *, centred: bool) -> Group:
    """Show the correlations of every layer in one convention.

    Args:
        table: What ``nfa.measure`` returned.
        correlation: Convention of the numbers shown.
        power: The same.
        centred: Show C-NFC, too.
    """
    quantities = [name for name in _HEADINGS if centred or name != "c_nfc"]
    estimator = table.estimator.iloc[0]
    title = f"{correlation}, power {power}; {estimator}, n = {table.n.iloc[0]:,}; ±: standard error"
    shown = _table()
    shown.add_column("layer", overflow="fold")
    for name in quantities:
        shown.add_column(_HEADINGS[name], justify="right", no_wrap=True)
    rows = table[table.correlation.eq(correlation) & table.power.eq(power)]
    notes: dict[str, None] = {}
    for _, part in rows.groupby("layer_index", sort=True):
        found = part.set_index("quantity")
        shown.add_row(Text(part.layer.iloc[0]), *(_with_error(found.value[q], found.stderr[q]) for q in quantities))
        for quantity in quantities:
            if found.note[quantity]:
                notes[f"{_HEADINGS[quantity]}: {found.note[quantity]}"] = None
    # Not the table's own title, which would be wrapped to the table's width.
    return Group(
        Text(title, "dim"), shown, *(Text(note, "dim") for note in notes), *left_out_lines(table.attrs["left_out"])
    )


def left_out_lines(left_out: Mapping[str, str]) -> list[Text]:
    """Name the weights that are not measured, with their reasons."""
    if not left_out:
        return []
    return [Text("Not measured:", "bold"), *(Text(f"  {name}: {reason}") for name, reason in left_out.items())]


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def _with_error(value: float, stderr: float) -> str:
    """Show a value and its standard error, in as many digits as that one calls for; exact values without."""
    if not math.isfinite(stderr) or stderr == 0:
        return number(value, DIGITS)
    return f"{number(value, DIGITS)} ± {number(stderr, DIGITS)}"
