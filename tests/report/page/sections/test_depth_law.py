"""The depth law: best powers are means over seeds, and the sentence counts the layers in which the law holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nfa.conventions import HEADLINE
from nfa.report.figures import depth_law
from nfa.report.page.sections.depth_law import which_power
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from tests.helpers import tiny_sweep
from tests.report.studies import study_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two data sets, two networks, two optimizers, two seeds."""
    sweep = tiny_sweep(seeds=2, model=[{"name": "mlp", "depth": [2, 3], "width": 12}])
    return study_of(sweep, tmp_path_factory.mktemp("results"))


def test_best_powers_are_means_over_seeds_beside_the_law(study: Study) -> None:
    cell = study.collected.sweep.cells[0]
    table = study.collected.alignment
    last = table[(table["cell"] == cell.id) & (table["step"] == table["step"].max())]
    for index in range(len(cell.layers)):
        row = study.best_power(cell.id, index, "pearson")
        assert row is not None
        here = last[(last["layer_index"] == index) & (last["correlation"] == "pearson")]
        for name, quantity in (("power", "depth_law_power"), ("fit", "depth_law_fit"), ("low", "depth_law_low")):
            assert row[name] == pytest.approx(here.loc[here["quantity"] == quantity, "value"].mean())
        slopes = last[(last["layer_index"] == index) & (last["quantity"] == "spectrum_slope")]
        assert row["slope"] == pytest.approx(slopes["value"].mean())
        assert row["slope_power"] == pytest.approx(1 / (1 + slopes["value"].mean()))
        assert row["law"] == study.law(cell.id, index) == pytest.approx(1 / (len(cell.layers) - index))
        at_one = here[(here["quantity"] == "uc_nfc") & (here["power"] == "1")]
        assert row["fit_at_1"] == pytest.approx(at_one["value"].mean())


def test_the_sentence_counts_layers_and_gives_medians_by_depth(study: Study) -> None:
    law = which_power(study, HEADLINE).sentence
    assert "in 0 of 20 hidden layers" in law  # fits of 0.95 beside UC-NFC below 0.9
    assert "1 from the output 0.5" in law
    assert "Median of p by depth: 1 from the output 1.00 (law: 1), 2 from the output 2.00 (law: 2)" in law
    assert len(depth_law.panels(study)) == 4


def test_a_sweep_in_which_it_is_undefined_says_so(study: Study) -> None:
    table = study.collected.alignment.copy()
    table["value"] = np.nan
    collected = replace(study.collected, alignment=table)
    changed = Study(collected, make_tables(collected), study.paths)
    said = which_power(changed, HEADLINE).sentence
    assert said == "No finished run has a hidden layer in which this is defined, so there is no answer."


def test_a_slope_without_a_power_is_left_out(study: Study) -> None:
    """Where p is -1 or less, 1/(1 + p) is no power."""
    table = study.collected.alignment.copy()
    table.loc[table["quantity"] == "spectrum_slope", "value"] = -1.5
    changed = Study(replace(study.collected, alignment=table), study.tables, study.paths)
    row = changed.best_power(study.collected.sweep.cells[0].id, 0, "cosine")
    assert row is not None
    assert (row["slope"], np.isnan(row["slope_power"])) == (-1.5, True)
    assert "A second estimate" not in which_power(changed, HEADLINE).sentence
    assert "A second estimate" in which_power(study, HEADLINE).sentence


def test_one_seed_has_no_intervals(tmp_path: Path) -> None:
    assert "nan" not in which_power(study_of(tiny_sweep(seeds=1), tmp_path), HEADLINE).sentence
