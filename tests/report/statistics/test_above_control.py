"""Values above their controls: known answers, and networks before and after they learn."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

import nfa
from nfa.conventions import HEADLINE
from nfa.report.statistics.above_control import MEASURES, above_control, mean_over_layers, summarise
from nfa.report.statistics.runs import at_convention

Row = tuple[int, int, str, str | None, str | None, float]
COLUMNS = ["cell", "seed", "step", "layer", "layer_index", "depth_from_output", "quantity", "correlation", "power"]


def table_of(*rows: Row) -> pd.DataFrame:
    """Make an alignment table of one cell from (seed, layer index of 3, quantity, correlation, power, value)."""
    full = [
        ("a", seed, 9, f"layer{index}", index, 2 - index, quantity, correlation, power, value)
        for seed, index, quantity, correlation, power, value in rows
    ]
    return pd.DataFrame(full, columns=[*COLUMNS, "value"])


def ansatz(seed: int, index: int, value: float, control: float, spread: float) -> list[Row]:
    """Rows of UC-NFC and of its control in one convention."""
    names = ("uc_nfc", "haar_nfc", "haar_nfc_sd")
    values = (value, control, spread)
    return [(seed, index, name, "cosine", "1", each) for name, each in zip(names, values, strict=True)]


def test_rows_of_layers_means_over_layers_and_intervals_over_seeds() -> None:
    table = table_of(
        *ansatz(0, 0, 0.75, 0.5, 0.125),
        *ansatz(0, 1, 0.5, 0.25, 0.0625),
        *ansatz(0, 2, 1.0, 1.0, 0.0),  # the readout
        *ansatz(1, 0, 0.875, 0.5, 0.125),
        *ansatz(1, 1, 0.5, 0.25, 0.0),
        *ansatz(1, 2, 1.0, 1.0, 0.0),
    )
    points = above_control(table, "uc_nfc")
    assert points[["seed", "layer_index", "difference"]].values.tolist() == [
        [0, 0, 0.25],
        [0, 1, 0.25],
        [1, 0, 0.375],
        [1, 1, 0.25],
    ]
    assert points["deviations"].tolist()[:3] == [2.0, 4.0, 3.0]
    assert math.isnan(points["deviations"].iloc[3])  # a control without a spread has no unit
    means = mean_over_layers(points)
    units = math.sqrt((0.125**2 + 0.0625**2) / 2), math.sqrt(0.125**2 / 2)  # root mean squares
    assert means[["seed", *MEASURES]].values.tolist() == [
        [0, 0.625, 0.375, 0.25, 0.25 / units[0]],
        [1, 0.6875, 0.375, 0.3125, 0.3125 / units[1]],
    ]
    summary = summarise(means, ["cell", "step"]).set_index("measure")
    row = summary.loc["difference"]
    half = stats.t.ppf(0.975, 1) * np.std([0.25, 0.3125], ddof=1) / math.sqrt(2)
    assert (row["cell"], row["step"], row["n_seeds"], row["mean"]) == ("a", 9, 2, 0.28125)
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], [0.28125 - half, 0.28125 + half])


def test_a_layer_without_a_control_is_in_no_mean() -> None:
    table = table_of(*ansatz(0, 0, 0.75, 0.5, 0.125), *ansatz(0, 1, 0.9, math.nan, math.nan))
    assert mean_over_layers(above_control(table, "uc_nfc"))[MEASURES].values.tolist() == [[0.75, 0.5, 0.25, 2.0]]


def test_factors_have_neither_correlation_nor_power() -> None:
    names = {"directional": 0.9, "directional_haar": 0.5, "directional_haar_sd": 0.1}
    table = table_of(
        *((0, 0, name, None, None, value) for name, value in names.items()), *ansatz(0, 0, 0.75, 0.5, 0.125)
    )
    points = above_control(table.astype({"quantity": "category", "correlation": "category"}), "directional")
    assert len(points) == 1
    np.testing.assert_allclose(points[MEASURES], [[0.9, 0.5, 0.4, 4.0]])
    assert len(mean_over_layers(points)) == 1


def test_powers_other_than_one_have_a_difference_without_a_unit() -> None:
    rows = [(0, 0, "uc_nfc", "cosine", "1/2", 0.75), (0, 0, "haar_nfc", "cosine", "1/2", 0.5)]
    (point,) = above_control(table_of(*rows), "uc_nfc").to_dict("records")
    assert point["difference"] == 0.25
    assert math.isnan(point["deviations"])


def network(activation: type[nn.Module], seed: int) -> nn.Sequential:
    """Make a network of three hidden layers."""
    torch.manual_seed(seed)
    sizes = (20, 32, 32, 32)
    layers = [part for d, k in pairwise(sizes) for part in (nn.Linear(d, k, bias=False), activation())]
    return nn.Sequential(*layers, nn.Linear(32, 3, bias=False))


@pytest.mark.parametrize("activation", [nn.Identity, nn.ReLU])
def test_untrained_networks_are_at_their_control_and_trained_ones_above(activation: type[nn.Module]) -> None:
    untrained, trained = [], []
    for seed in range(4):
        model, inputs = network(activation, seed), torch.randn(200, 20)
        targets = torch.stack([inputs[:, 0] * inputs[:, 1], inputs[:, 0], inputs[:, 1]], 1)
        untrained.append(nfa.measure(model, inputs, seed=seed))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(300):
            optimizer.zero_grad()
            ((model(inputs) - targets) ** 2).mean().backward()
            optimizer.step()
        trained.append(nfa.measure(model, inputs, seed=seed, step=300))
    before, after = pd.concat(untrained), pd.concat(trained)
    for quantity in ("uc_nfc", "directional"):
        start, end = above_control(before, quantity), above_control(after, quantity)
        if quantity == "uc_nfc":
            start, end = start[at_convention(start, HEADLINE)], end[at_convention(end, HEADLINE)]
        # The mean over 12 layers has a standard error of about 0.3.
        assert len(start) == 12
        assert abs(start["deviations"].mean()) < 0.75
        assert 0.5 < start["deviations"].std() < 1.5
        lowest = summarise(mean_over_layers(end), ["step"]).set_index("measure")["ci_low"]
        assert lowest["deviations"] > 1
        assert lowest["difference"] > 0
