"""Verdicts in words: the rule on known numbers, and what the page says of made-up results whose answer is known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nfa.conventions import HEADLINE, READOUT
from nfa.report.page.sections.ansatz import holds
from nfa.report.page.verdicts import ABOVE, BELOW, CHANCE, OPEN, Compared, by_family, families
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from tests.helpers import tiny_sweep
from tests.report.studies import study_of

MODELS = [
    {"name": "mlp", "depth": 2, "width": 12},
    {"name": "conv", "depth": 2, "width": 4, "for": {"data": "fashion_mini"}},
]
MLPS, CONVOLUTIONS = ("fashion_mini", "MLPs"), ("fashion_mini", "convolutional networks")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(tiny_sweep(seeds=3, model=MODELS), tmp_path_factory.mktemp("results"))


def changed(study: Study, quantity: str, values: Callable[[pd.DataFrame], pd.Series], model: str = "conv") -> Study:
    """Replace the values of a quantity in the cells of one model."""
    table = study.collected.alignment.copy()
    cells = study.cells.index[study.cells["model.name"] == model]
    rows = (table["quantity"] == quantity) & table["cell"].astype(str).isin(cells)
    table.loc[rows, "value"] = values(table[rows])
    collected = replace(study.collected, alignment=table)
    return Study(collected, make_tables(collected), study.paths)


@pytest.mark.parametrize(
    ("difference", "half", "deviations", "verdict"),
    [
        (0.3, 0.1, 6.0, ABOVE),
        (0.3, 0.1, 1.9, CHANCE),  # far for the seeds, but not for the rotations
        (0.3, 0.4, 6.0, OPEN),  # far for the rotations, but not for the seeds
        (-0.3, 0.1, -6.0, BELOW),
        (-0.3, 0.4, -6.0, OPEN),
        (0.004, 0.001, 40.0, CHANCE),  # not seen in two decimals
        (0.3, np.nan, 6.0, ABOVE),  # one seed
        (0.3, 0.1, np.nan, ABOVE),  # the spread of the control is not known
        (0.3, 0.4, np.nan, OPEN),
        (np.nan, np.nan, np.nan, "n/a"),
    ],
)
def test_the_rule(difference: float, half: float, deviations: float, verdict: str) -> None:
    row = Compared(0.5 + difference, 0.5, 0.5, difference, difference - half, difference + half, deviations)
    assert row.verdict == verdict


def test_each_family_of_networks_has_its_own_verdict(study: Study) -> None:
    as_by_chance = changed(study, "directional", lambda rows: 0.45 + 0.01 * rows["seed"])  # chance: 0.45 +- 0.05
    found = families(as_by_chance, "directional")
    assert {key: row.verdict for key, row in found.items()} == {
        MLPS: ABOVE,
        CONVOLUTIONS: CHANCE,
        ("chain_monomial", "MLPs"): ABOVE,
    }
    row = found[CONVOLUTIONS]
    assert (row.value, row.control, row.initial) == pytest.approx((0.46, 0.45, 0.46))
    assert row.difference == pytest.approx(0.01)
    assert row.deviations == pytest.approx(0.2)
    text = holds(as_by_chance, HEADLINE).sentence
    assert "no better than chance in convolutional networks on fashion_mini (0.46, by chance 0.45)" in text
    assert "Directions: yes in MLPs on fashion_mini" in text


def test_below_chance_and_undecided(study: Study) -> None:
    below = changed(study, "spectral", lambda rows: 0.5 + 0.01 * rows["seed"])  # chance: 0.8 +- 0.05
    assert families(below, "spectral")[CONVOLUTIONS].verdict == BELOW
    assert "less alike than by chance in convolutional networks" in holds(below, HEADLINE).sentence
    seeds_disagree = changed(study, "directional", lambda rows: rows["seed"].map({0: 0.3, 1: 0.9, 2: 0.9}))
    assert families(seeds_disagree, "directional")[CONVOLUTIONS].verdict == OPEN


def test_a_control_that_hardly_varies_does_not_decide_alone(study: Study) -> None:
    """One layer .005 below a control of spread 1e-5, and others .35 above theirs: 7 deviations, and not -240."""
    table = study.collected.alignment.copy()
    steady = (table["depth_from_output"] == 1) & table["cell"].astype(str).isin(
        study.cells.index[study.cells["model.name"] == "conv"]
    )
    table.loc[table["quantity"] == "directional", "value"] = 0.8
    table.loc[steady & (table["quantity"] == "directional"), "value"] = 0.445
    table.loc[steady & (table["quantity"] == "directional_haar_sd"), "value"] = 1e-5
    changed_study = replace(study.collected, alignment=table)
    row = families(Study(changed_study, make_tables(changed_study), study.paths), "directional")[CONVOLUTIONS]
    assert row.verdict == ABOVE
    assert 3 < row.deviations < 7


def test_the_readout_is_in_no_verdict(study: Study) -> None:
    """Its factors are 1 by definition; here they are made absurd, and nothing may change."""

    def absurd(rows: pd.DataFrame) -> pd.Series:
        return rows["value"].mask(rows["depth_from_output"] == READOUT, -100.0)

    for quantity in ("directional", "spectral", "uc_nfc"):
        convention = HEADLINE if quantity == "uc_nfc" else None
        assert families(changed(study, quantity, absurd), quantity, convention) == families(study, quantity, convention)


def test_without_the_factors_the_page_says_that_they_were_not_measured(study: Study) -> None:
    table = study.collected.alignment
    old = replace(study.collected, alignment=table[~table["quantity"].str.contains("directional|spectral|slope")])
    text = holds(Study(old, make_tables(old), study.paths), HEADLINE).sentence
    assert "Directions: the quantity or its control was not measured." in text
    assert "UC-NFC, the product of both: yes in MLPs" in text


def test_rows_are_cut_into_data_sets_and_families(study: Study) -> None:
    parts = by_family(study, study.run_means)
    assert list(parts) == [MLPS, CONVOLUTIONS, ("chain_monomial", "MLPs")]
    assert sum(map(len, parts.values())) == len(study.run_means)
