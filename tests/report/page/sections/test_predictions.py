"""The C-NFC predicted at initialisation: its table recomputed row by row, and a sentence that gives the distances."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nfa.conventions import HEADLINE, Convention
from nfa.report.figures import predictions
from nfa.report.page.sections.predictions import prediction_table, was_predicted
from nfa.report.statistics.predictions import prediction_points
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from tests.helpers import tiny_sweep
from tests.report.studies import drawn, study_of

NOT_DEFINED = "No finished run has a hidden layer in which this is defined, so there is no answer."


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two data sets, two networks, two optimizers, two seeds."""
    sweep = tiny_sweep(seeds=2, model=[{"name": "mlp", "depth": [2, 3], "width": 12}])
    return study_of(sweep, tmp_path_factory.mktemp("results"))


def values(study: Study, quantity: str, seed: int, step: int, data: str) -> list[float]:
    """Look a quantity up, cosine at power 1, at every hidden layer of every cell of a data set, one by one."""
    table = study.collected.alignment
    table = table[(table["quantity"] == quantity) & (table["seed"] == seed) & (table["step"] == step)]
    table = table[(table["correlation"] == "cosine") & (table["power"] == "1")].astype({"cell": str, "layer": str})
    found = table.set_index(["cell", "layer"])["value"]
    cells = [cell for cell in study.collected.sweep.cells if cell.data.name == data]  # type: ignore[attr-defined]
    return [found[cell.id, layer.name] for cell in cells for layer in cell.layers[:-1]]


@pytest.mark.parametrize("data", ["fashion_mini", "chain_monomial"])
@pytest.mark.parametrize(("predictor", "quantity"), [("flow", "c_nfc"), ("update", "c_nfc_update")])
@pytest.mark.parametrize("at", ["first", "last"])
def test_predictions_are_compared_with_what_came(
    study: Study, data: str, predictor: str, quantity: str, at: str
) -> None:
    steps = sorted(study.collected.alignment["step"].unique())
    step = steps[1] if at == "first" else steps[-1]
    table = study.tables["predictions"]
    place = {"data": data, "layers": "hidden layers pooled", "correlation": "cosine", "power": "1"}
    place |= {"predictor": predictor, "at": at}
    here = table[(table[list(place)] == pd.Series(place)).all(axis=1)].set_index("measure")
    pairs = [(values(study, quantity, seed, 0, data), values(study, "c_nfc", seed, step, data)) for seed in (0, 1)]
    gaps = [np.mean(np.abs(np.subtract(*pair))) for pair in pairs]
    ranks = [stats.spearmanr(*pair).statistic for pair in pairs]
    for measure, expected in (("difference", gaps), ("rho", ranks)):
        row = here.loc[measure]
        assert row["n"] == len(pairs[0][0]) == 10  # 2 optimizers, 2 + 3 hidden layers
        assert row["mean"] == pytest.approx(np.mean(expected))
        assert row["ci_high"] - row["mean"] == pytest.approx(12.706 * np.std(expected, ddof=1) / np.sqrt(2), rel=1e-3)


def test_runs_that_did_not_finish_are_left_out(study: Study) -> None:
    points = prediction_points(study.collected)
    assert len(points) == 8 * 2 * 9 * 3.5  # cells, seeds, conventions, mean of 3 and 4 layers
    first = study.collected.sweep.cells[0].id
    document = study.collected.documents[first]["runs"]["1"]
    status, document["status"] = document["status"], "diverged"
    try:
        left = prediction_points(study.collected)
    finally:
        document["status"] = status
    assert len(left) == len(points) - 9 * 3
    assert set(left.loc[left["cell"].astype(str) == first, "seed"]) == {0}


def test_sentences_state_convention_size_and_distance(study: Study) -> None:
    said = was_predicted(study, HEADLINE)
    assert "Convention: cosine, power 1 (exact, n = 1,000 training samples; 2 seeds)" in said.sentence
    table = study.tables["predictions"]
    pooled = table[(table["layers"] == "hidden layers pooled") & (table["power"] == "1")]
    row = pooled.query(
        "data == 'fashion_mini' and correlation == 'cosine' and predictor == 'update' and at == 'last' "
        "and measure == 'difference'"
    ).iloc[0]
    assert f"by {row['mean']:.3f} [" in said.sentence
    assert "(10 points per seed; over model.depth 2, 3; optimizer.name sgd, adam)" in said.sentence
    assert "mini-batches" in said.sentence


@pytest.mark.parametrize("at", ["first", "last"])
def test_what_is_undefined_everywhere_says_so(study: Study, at: str) -> None:
    """Networks that all died: C-NFC is NaN at that checkpoint of every run."""
    table = study.collected.alignment.copy()
    steps = sorted(table["step"].unique())
    dead = (table["step"] == (steps[1] if at == "first" else steps[-1])) & (table["quantity"] == "c_nfc")
    table.loc[dead, "value"] = np.nan
    collected = replace(study.collected, alignment=table)
    changed = Study(collected, make_tables(collected), study.paths)
    said = was_predicted(changed, HEADLINE)
    assert f"n/a at {at}" in said.short
    assert "C-NFC is off by " + ("n/a at step" if at == "first" else "0.") in said.sentence
    table["value"] = np.nan
    changed = Study(collected, make_tables(collected), study.paths)
    assert was_predicted(changed, HEADLINE).sentence == NOT_DEFINED


def test_one_seed_has_no_intervals(tmp_path: Path) -> None:
    study = study_of(tiny_sweep(seeds=1), tmp_path)
    assert "so no intervals" in was_predicted(study, HEADLINE).sentence
    assert "nan" not in was_predicted(study, HEADLINE).sentence


def test_panels_show_every_hidden_layer(study: Study) -> None:
    panels = predictions.panels(study)
    assert len(panels) == 4  # 2 data sets, first and last checkpoint
    (axes,) = drawn(panels[0])
    assert (
        len(axes.lines) == 1 + 2 * 10 + 1
    )  # the diagonal; a point per hidden layer of a cell, and a line to its control
    crosses = next(line for line in axes.lines if line.get_marker() == "x")
    np.testing.assert_allclose(
        np.asarray(crosses.get_xydata(), float), np.tile([0.32, 0.35], (10, 1))
    )  # along the update, and measured


def test_predictions_stand_beside_their_control(study: Study) -> None:
    """Its numbers are recomputed: .32 along the update, whatever was measured."""
    steps = sorted(study.collected.alignment["step"].unique())
    measured = [values(study, "c_nfc", seed, steps[1], "fashion_mini") for seed in (0, 1)]
    chance = f"{np.mean([np.mean(np.abs(np.subtract(0.32, each))) for each in measured]):.3f}"
    said = was_predicted(study, HEADLINE)
    assert f"; by chance {chance}, ρ = n/a)" in said.verdict  # one number has no order
    assert "by chance" in said.short
    assert prediction_table(study).count(f"<td>{chance}</td>") >= 1
    other = was_predicted(study, Convention("cosine", "1/2"))
    assert "by chance n/a" in other.verdict
    means = study.prediction_means
    assert set(means["update_control"]) == {0.32}
    assert set(means["first_control"]) == set(means["last_control"]) == {0.35}
