"""Predicted and measured C-NFC beside their controls, recomputed one by one."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nfa.report.statistics.collected import Collected
from nfa.report.statistics.predictions import make_predictions, prediction_points
from nfa.stages.aggregate import collect
from tests.fake_results import write
from tests.helpers import tiny, tiny_sweep

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Collected:
    """Results of two optimizers and two depths, whose controls differ from layer to layer."""
    models = [{"name": "mlp", "depth": [2, 3], "width": 12}]
    sweep = tiny_sweep(data=tiny()["data"][1:], model=models, seeds=2)
    found = collect(sweep, write(sweep, tmp_path_factory.mktemp("results")))
    table = found.alignment.copy()
    chance = table["quantity"].isin(["c_haar_nfc", "c_haar_nfc_update"])
    table.loc[chance, "value"] = np.random.default_rng(0).random(chance.sum())
    return replace(found, alignment=table)


def values(collected: Collected, quantity: str, seed: int, step: int) -> np.ndarray:
    """Look a quantity up, cosine at power 1, at every hidden layer of every cell."""
    table = collected.alignment.query("quantity == @quantity and seed == @seed and step == @step")
    table = table.query("correlation == 'cosine' and power == '1' and depth_from_output > 0")
    return table.sort_values(["cell", "layer_index"])["value"].to_numpy()


@pytest.mark.parametrize(("predictor", "end"), [("flow", ""), ("update", "_update")])
@pytest.mark.parametrize("at", ["first", "last"])
def test_the_control_is_compared_as_the_prediction_is(collected: Collected, predictor: str, end: str, at: str) -> None:
    steps = sorted(collected.alignment["step"].unique())
    step = steps[1] if at == "first" else steps[-1]
    table = make_predictions(prediction_points(collected), collected.pooling)
    place = {"layers": "hidden layers pooled", "correlation": "cosine", "power": "1", "predictor": predictor, "at": at}
    found = table[(table[list(place)] == pd.Series(place)).all(axis=1)].set_index("measure")
    expected: dict[str, list[float]] = {}
    for seed in SEEDS:
        predicted, chance = (values(collected, name + end, seed, 0) for name in ("c_nfc", "c_haar_nfc"))
        measured, its_chance = (values(collected, name, seed, step) for name in ("c_nfc", "c_haar_nfc"))
        assert len(predicted) == len(measured) == 10  # 2 optimizers, 2 + 3 hidden layers
        for measure, value in {
            "rho": stats.spearmanr(predicted, measured).statistic,
            "rho_control": stats.spearmanr(chance, measured).statistic,
            "rho_above_control": stats.spearmanr(predicted - chance, measured - its_chance).statistic,
            "difference": np.abs(measured - predicted).mean(),
            "difference_control": np.abs(measured - chance).mean(),
        }.items():
            expected.setdefault(measure, []).append(value)
    assert set(found.index) == set(expected)
    for measure, numbers in expected.items():
        assert found.loc[measure, "mean"] == pytest.approx(np.mean(numbers))
        assert found.loc[measure, "n"] == 10
    assert found["pooled_over"].nunique() == 1


def test_powers_without_a_control_are_compared_without_it(collected: Collected) -> None:
    points = prediction_points(collected)
    assert points.loc[points["power"] != "1", ["flow_control", "last_control"]].isna().all(axis=None)
    table = make_predictions(points, collected.pooling)
    assert set(table.loc[table["power"] != "1", "measure"]) == {"rho", "difference"}
