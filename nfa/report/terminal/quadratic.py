"""The tables that ``nfa theory`` prints: C-NFC(0+) of quadratic networks, measured and in closed form."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.table import Table

from nfa.report.numbers import plus_minus
from nfa.report.statistics.intervals import over_seeds

# Columns that identify a row of the summary.
BY = ("table", "case", "width", "correlation", "source", "reference", "reference_spread", "note")
TITLES = {
    "spectrum": "chain monomial, variances i^-alpha, d = 128, n = 1024",
    "reversing": "reversing mixture, d = 128, n = 4096, k = 1024",
}
HEADINGS = {
    "measured": "measured",
    "free_probability": "free probability",
    "free_probability_of_readout": "free prob., drawn a",
    "infinite_width": "infinite width",
}


def quadratic_summary(draws: pd.DataFrame) -> pd.DataFrame:
    """Summarise ``nfa.theory.quadratic_draws`` over its draws.

    Returns:
        One row per case, correlation and source: the columns of ``draws`` but for seed and value, and draws, mean, sd
        (n - 1) and the 95% interval of the mean, ci_low to ci_high (Student t). The order is that of the tables.
    """
    summary = over_seeds(draws, BY).rename(columns={"n_seeds": "draws"})
    order = draws[list(BY)].drop_duplicates()
    return order.merge(summary, on=list(BY), how="left")


def quadratic_tables(summary: pd.DataFrame) -> list[Table]:
    """Lay out both tables for the cosine, with the published reference below each number."""
    cosine = summary[summary["correlation"] == "cosine"]
    return [_table(str(name), rows) for name, rows in cosine.groupby("table", sort=False)]


def _table(name: str, rows: pd.DataFrame) -> Table:
    count = int(rows["draws"].max())
    spread = f"mean of {count} draws ± half of its 95% interval" if count > 1 else "one draw"
    spread += "; drawn a: with the readout of the drawn network"
    table = Table(
        title=f"C-NFC(0+), cosine: {TITLES[name]}\n{spread}",
        title_style="dim",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
    )
    table.add_column("case", no_wrap=True)
    for heading in HEADINGS.values():
        table.add_column(heading, justify="right")
    for case, group in rows.groupby("case", sort=False):
        found = {row["source"]: row for row in group.to_dict("records")}
        table.add_row(str(case), *(_mean(found[source]) for source in HEADINGS))
        table.add_row("  reference", *(_reference(found[source]) for source in HEADINGS), style="dim")
    return table


def _mean(row: Mapping[Any, Any]) -> str:
    return plus_minus(row["mean"], row["ci_high"] - row["mean"], 3)


def _reference(row: Mapping[Any, Any]) -> str:
    return "" if pd.isna(row["reference"]) else plus_minus(row["reference"], row["reference_spread"], 3)
