"""The table of ``nfa figure``."""

from pathlib import Path

from nfa.report.statistics.chart_data import Roles, make_chart
from nfa.report.statistics.chart_points import Wanted, read_points
from nfa.report.terminal.chart import chart_table


def test_the_table_has_a_row_per_place_and_a_column_per_quantity(results: Path) -> None:
    points = read_points(results, [Wanted.parse(name) for name in ("uc_nfc", "haar_nfc")])
    lines = chart_table(make_chart(points, Roles("layer", "quantity", "label"))).splitlines()
    assert lines[0] == "| label | layer | uc_nfc | haar_nfc |"
    assert len(lines) == 2 + 4 * 2
    assert lines[2].endswith("| 0.25 ± 0.00 |")


def test_one_cell_compared_by_quantity_alone_is_one_row(results: Path) -> None:
    points = read_points(results, [Wanted.parse("haar_nfc")])
    cell = points[points["cell"] == points["cell"].iloc[0]]
    table = chart_table(make_chart(cell, Roles("quantity", "none", "none")))
    assert table.splitlines() == ["| haar_nfc |", "| --- |", "| 0.25 ± 0.00 |"]
