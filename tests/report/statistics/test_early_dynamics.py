"""Early dynamics in the report: curves are read by place, departures are known, and what was not followed says so."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nfa.report.figures import early
from nfa.report.page.sections.early_dynamics import until_when
from nfa.report.statistics.early_dynamics import in_headline, make_departure
from nfa.report.statistics.study import Study
from tests.helpers import tiny_sweep
from tests.report.studies import drawn, study_of


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A sweep whose cells of plain SGD (lr 0.1) follow the flow, those of Adam not."""
    sweep = tiny_sweep(seeds=2, measure={"samples": 50, "early": 20})
    return study_of(sweep, tmp_path_factory.mktemp("results"))


def test_curves_are_read_by_cell_seed_and_layer(followed: Study) -> None:
    curves = followed.tables["early_dynamics"]
    assert {followed.row(cell)["optimizer"] for cell in curves["cell"].unique()} == {"sgd"}
    # 2 cells, 2 seeds, 3 layers, 2 norms and C-NFC in 3 correlations, 20 times
    assert len(curves) == 2 * 2 * 3 * 5 * 20
    np.testing.assert_allclose(curves["steps"], curves["t"] / 0.1)
    agop = curves[curves["quantity"] == "centred_agop_norm"]
    np.testing.assert_allclose(agop["measured"], agop["t"] ** 2 * (1 + agop["t"]))
    assert agop["correlation"].isna().all()
    assert set(curves.loc[curves["quantity"] == "c_nfc", "correlation"]) == {"cosine", "pearson", "offdiagonal"}
    assert (curves["depth_from_output"] == 2 - curves["layer_index"]).all()


def test_departures_are_where_the_closed_forms_part(followed: Study) -> None:
    """Leading: t / (1 + t) = .1 at t = 1/9. Next: .1 t / (1 + t) is below .1 always."""
    left = followed.tables["early_departure"]
    norms = left[left["correlation"].isna()]
    leading = norms[norms["order"] == "leading"]
    np.testing.assert_allclose(leading["t"], 1 / 9, rtol=0.01)  # between times that are 27% apart
    np.testing.assert_allclose(leading["steps"], leading["t"] / 0.1)
    rest = left.drop(leading.index)
    assert rest["t"].isna().all()
    assert rest["note"].str.startswith("within 0.1").all()


def test_the_sentence_has_the_numbers(followed: Study) -> None:
    sentence = until_when(followed).sentence
    assert "at most 20 training samples (2 cells of plain SGD, 2 seeds" in sentence
    assert "leading order 1.1, next order not in the time followed (12 of 12 curves stay)" in sentence


def test_panels_have_both_orders_and_what_was_measured(followed: Study) -> None:
    groups = early.panels(followed)
    assert len(groups) == 2
    for panels in groups.values():
        assert [panel.heading.split()[0] for panel in panels] == ["|W̄ᵀW̄|", "|W̄ᵀKW̄|", "C-NFC"]
        (axes,) = drawn(panels[0])
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert len(dots) == 3
        times, values = (np.asarray(part, dtype=float) for part in dots[0].get_data())
        np.testing.assert_allclose(values, 1 + times)  # over the leading order
        ticks = [line for line in axes.lines if line.get_marker() == "|"]
        assert len(ticks) == 3  # the leading order of each layer leaves, the next one does not
        assert axes.get_ylim()[1] > values.max()


def test_what_was_not_followed_says_so(tmp_path: Path) -> None:
    study = study_of(tiny_sweep(seeds=1), tmp_path)
    assert study.tables["early_dynamics"].empty
    assert study.tables["early_departure"].empty
    assert early.panels(study) == {}
    assert until_when(study).sentence.startswith("Not followed in this sweep")


def test_empty_and_full_tables_have_the_same_types(followed: Study) -> None:
    full = followed.tables["early_dynamics"]
    pd.testing.assert_series_equal(full.iloc[:0].dtypes, full.dtypes)
    empty = make_departure(full.iloc[:0])
    pd.testing.assert_series_equal(empty.dtypes, followed.tables["early_departure"].dtypes)
    assert len(in_headline(full)) == len(full) * 3 // 5
