"""The answer about layers: of directions, of strengths and of UC-NFC, each at the layer where it is largest."""

import re
from dataclasses import replace

import pytest

from nfa.conventions import HEADLINE
from nfa.report.page.sections.layers import heat_table, means_table, which_layer
from nfa.report.page.svg import Live
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from tests.helpers import tiny_sweep
from tests.report.studies import study_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Directions stand out at the first layer, two from the output, strengths and UC-NFC just before the readout."""
    made = study_of(tiny_sweep(seeds=2), tmp_path_factory.mktemp("results"))
    table = made.collected.alignment.copy()
    by_depth = {"directional": {0: 1.0, 1: 0.6, 2: 0.9}, "spectral": {0: 1.0, 1: 0.95, 2: 0.75}}
    for quantity, values in by_depth.items():
        rows = table["quantity"] == quantity
        table.loc[rows, "value"] = table.loc[rows, "depth_from_output"].map(values)
    collected = replace(made.collected, alignment=table)
    return Study(collected, make_tables(collected), made.paths)


def test_directions_and_strengths_are_answered_apart(study: Study) -> None:
    text = which_layer(study, HEADLINE).sentence
    directions, _, rest = text.partition("Strengths are")
    strengths, _, raw = rest.partition("UC-NFC itself")
    assert "in MLPs on fashion_mini: 2 from the output in 2 of 2 cells" in directions
    assert "in MLPs on fashion_mini: just before the readout in 2 of 2 cells" in strengths
    assert "2 of 2 cells (as by chance, averaged over layers)" in strengths  # 0.85 beside 0.80 +- 0.05
    assert "averaged over layers" not in directions
    assert "just before the readout in 2 of 2 cells" in raw
    assert "is left out" in raw


def test_the_table_has_both_factors_beside_their_controls(study: Study) -> None:
    head, *rows = (
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in str(means_table(study, Live())).split("<tr>")[1:]
    )
    assert len(rows) == 4  # two data sets, two hidden layers: no row for the readout
    assert head[:6] == ["layers", "cells", "directional", "by chance", "spectral", "by chance"]
    name, cells, directional, chance, spectral, _, slope, power, *_ = rows[0]
    assert (name, cells, chance) == ("fashion_mini · MLPs · 2 from the output", "2", "0.45")
    assert directional.startswith("0.90")
    assert spectral.startswith("0.75")
    assert (slope[:4], power) == ("2.00", "0.33")


def test_the_heat_map_shows_the_factors(study: Study) -> None:
    text = str(heat_table(study, Live()))
    for name in ("directional factor", "the same by chance", "spectral factor", "UC-NFC"):
        assert text.count(f">{name}</th>") == 1
