"""Parts of tables that several sections share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nfa.conventions import NOT_REACHED
from nfa.report.numbers import UNDEFINED, interval
from nfa.report.page.html import Safe, el, join
from nfa.report.statistics.study import Study

ENOUGH_POINTS = 6  # fewer points are never shown in bold: three points in one order prove nothing


def table(head: Sequence[object], rows: Iterable[object], caption: str, **attributes: Any) -> Safe:
    """Make a table, in a block of its own that scrolls sideways where the table is wider than the page.

    Args:
        head: Headings of the columns.
        rows: Elements ``tr``.
        caption: Text above the table.
        attributes: Attributes of the element ``table``.
    """
    columns = [cell if isinstance(cell, Safe) else el("th", cell, scope="col") for cell in head]
    content = el(
        "table", el("caption", el("span", caption)), el("thead", el("tr", columns)), el("tbody", rows), **attributes
    )
    return el("div", content, cls="scroll", tabindex=0, role="region", aria_label=caption)


def text_head(name: str) -> Safe:
    """Make the heading of a column of text in a table of numbers."""
    return el("th", name, scope="col", cls="text")


def text_cell(text: object) -> Safe:
    """Make an entry of a column of text in a table of numbers."""
    return el("td", text, cls="text")


def row_head(study: Study, cell: str) -> Safe:
    """Make the heading of a cell's row: its name with the colour of its optimizer."""
    return el("th", row_link(study, cell), scope="row")


def row_link(study: Study, cell: str) -> Safe:
    """Link a cell's name to its details, after a dot in the colour of its optimizer."""
    colour = study.optimizer(cell) % 8
    swatch = el("i", cls="swatch", style=f"--c:var(--o{colour})")
    return join([swatch, el("a", study.row(cell)["label"], href=f"#{anchor(study, cell)}")])


def anchor(study: Study, cell: str) -> str:
    """Return the id of a cell's details on the page."""
    return f"cell-{study.shown.index(cell)}"


def state(row: Mapping[str, Any]) -> Safe:
    """Count the runs of a cell that learned, diverged, did not learn, and did not reach ``train.until``."""
    weak = row["n_seeds"] - row["n_learned"] - row["n_diverged"]
    flags = [(row["n_diverged"], "diverged"), (weak, "did not learn"), (row["n_not_reached"], NOT_REACHED)]
    parts = [el("b", f"{count} {outcome}", cls="flag") for count, outcome in flags if count]
    if row["n_learned"]:
        parts.insert(0, el("span", f"{row['n_learned']} of {row['n_seeds']} learned"))
    return el("span", [(part, " ") for part in parts])


def rank_cell(row: dict[Any, Any] | None, missing: str = "alignment or probes are undefined at all points") -> Safe:
    """Make a table's entry: a rank correlation with its interval, bold where the interval does not contain 0."""
    if row is None:
        return el("td", UNDEFINED, title=missing)
    sure = row["n"] >= ENOUGH_POINTS and (row["ci_low"] > 0 or row["ci_high"] < 0)
    shown = interval(row["mean"], row["ci_low"], row["ci_high"], bound=1)
    return el("td", shown, title=row["note"] or None, cls="sure" if sure else None)
