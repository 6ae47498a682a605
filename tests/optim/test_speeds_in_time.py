"""Speeds that change: the rule that follows the alignment, set_speeds, momentum, what a sweep file may say."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from nfa.errors import SweepError
from nfa.optim import SpeedLimited
from nfa.optim.adapt import adapted_speeds
from nfa.optim.slo import SLOSettings
from tests.helpers import tiny_sweep

LAYERS = ["hidden0", "hidden1", "readout"]
BASE = {"hidden0": 1.0, "hidden1": 0.5, "readout": 0.2}


def test_the_layer_that_lags_gets_faster_by_the_formula() -> None:
    chosen = adapted_speeds(BASE, {"hidden0": 0.9, "hidden1": 0.5}, base=BASE, rate=2.0)
    assert chosen["hidden0"] == pytest.approx(math.exp(2 * (0.7 - 0.9)))
    assert chosen["hidden1"] == pytest.approx(0.5 * math.exp(2 * (0.7 - 0.5)))
    assert chosen["readout"] == 0.2
    assert chosen["hidden0"] * chosen["hidden1"] == pytest.approx(0.5)


def test_equal_alignment_and_unknown_alignment_change_nothing() -> None:
    assert adapted_speeds(BASE, {"hidden0": 0.4, "hidden1": 0.4}, base=BASE) == pytest.approx(BASE)
    assert adapted_speeds(BASE, {}, base=BASE) == BASE
    known = {"hidden0": 0.4, "hidden1": float("nan")}
    assert adapted_speeds(BASE, known, base=BASE) == BASE


def test_speeds_stay_within_their_bounds_however_long_a_layer_lags() -> None:
    speeds = dict(BASE)
    for _ in range(100):
        speeds = adapted_speeds(speeds, {"hidden0": 0.9, "hidden1": 0.1}, base=BASE, bound=3.0)
    assert speeds == pytest.approx({"hidden0": 1 / 3, "hidden1": 1.5, "readout": 0.2})
    for _ in range(200):  # and come back when the other lags
        speeds = adapted_speeds(speeds, {"hidden0": 0.1, "hidden1": 0.9}, base=BASE, bound=3.0)
    assert speeds == pytest.approx({"hidden0": 3.0, "hidden1": 0.5 / 3, "readout": 0.2})


def test_a_frozen_layer_stays_frozen_and_parts_of_a_parameter_stay_together() -> None:
    assert adapted_speeds({"a": 0.0, "b": 1.0}, {"a": 0.1, "b": 0.9}, base={"a": 0.0, "b": 1.0})["a"] == 0
    parts = {"in_proj_weight[0:4]": 1.0, "in_proj_weight[4:8]": 1.0, "out": 1.0}
    chosen = adapted_speeds(parts, {"in_proj_weight[0:4]": 0.2, "in_proj_weight[4:8]": 0.4, "out": 0.9}, base=parts)
    assert chosen["in_proj_weight[0:4]"] == chosen["in_proj_weight[4:8]"] == pytest.approx(math.exp(0.6 - 0.3))


def model_with_gradients() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rate": float("nan")}, "rate: nan"),
        ({"bound": 0.0}, "bound: 0.0"),
        ({"base": {"hidden0": 1.0}}, "base: hidden1: missing"),
        ({"nfc": {"hidden7": 0.5}}, "nfc: hidden7: no such layer; did you mean 'hidden1'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        adapted_speeds(**{"speeds": BASE, "nfc": {"hidden0": 0.5}, "base": BASE, **wrong})


def test_set_speeds_holds_from_the_next_step_on() -> None:
    model = model_with_gradients()
    optimizer = SpeedLimited(model.named_parameters(), lr=0.1, speeds={"first": 1.0, "others": 0.0})
    assert optimizer.speeds == {"0": 1.0, "2": 0.0}
    optimizer.step()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer.set_speeds({"first": 0.0, "others": 2.0})
    optimizer.step()
    moved = {name: (value.detach() - before[name]).norm().item() for name, value in model.named_parameters()}
    assert moved == pytest.approx({"0.weight": 0, "0.bias": 0, "2.weight": 0.2, "2.bias": 0.2}, abs=1e-8)
    with pytest.raises(ValueError, match="not a speed"):
        optimizer.set_speeds({"first": -1.0})
    with pytest.raises(ValueError, match="not a speed"):
        optimizer.set_speeds({"first": math.inf})


def test_momentum_is_normalised() -> None:
    model = model_with_gradients()
    weight = model.get_parameter("0.weight")
    optimizer = SpeedLimited(model.named_parameters(), lr=0.1, direction="momentum", betas=(0.8, 0.9))
    momentum = torch.zeros_like(weight)
    for seed in range(3):
        assert weight.grad is not None
        weight.grad.normal_(generator=torch.Generator().manual_seed(seed))
        momentum = 0.8 * momentum + weight.grad
        before = weight.detach().clone()
        optimizer.step()
        torch.testing.assert_close(weight.detach(), before - 0.1 * momentum / momentum.norm(), rtol=1e-7, atol=1e-9)


def test_phases_are_spelled_out_and_two_ways_to_say_them_are_one_cell() -> None:
    settings = SLOSettings(
        speeds={"first": 1, "others": 0.1}, later={"0.75": {"last": 2}, "0.5": {"hidden1": 1, "others": 0}}
    )
    assert list(settings.phases(LAYERS)) == [0.0, 0.5, 0.75]
    assert settings.phases(LAYERS)[0.5] == {"hidden0": 0, "hidden1": 1, "readout": 0}
    two = [
        {"name": "slo", "later": {0.5: {"first": 1, "others": 0.1}}},
        {"name": "slo", "speeds": {"others": 1}, "later": {"5e-1": {"hidden0": 1, "1": 0.1, "last": 0.1}}},
    ]
    ids = {tuple(cell.id for cell in tiny_sweep(optimizer=[entry]).cells) for entry in two}
    assert len(ids) == 1


def test_settings_at_their_defaults_change_no_id() -> None:
    plain = tiny_sweep(optimizer=[{"name": "slo", "lr": 0.1}]).cells[0]
    assert set(plain.content["optimizer"]) == {"name", "speeds"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"later": {1.5: {"first": 1}}}, "optimizer[0].later.1.5: is no share of the steps"),
        ({"later": {"half": {"first": 1}}}, "optimizer[0].later.half: is no share of the steps"),
        ({"later": {0.5: {"first": -1}}}, "optimizer[0].later.0.5.first: -1 is negative"),
        ({"later": {0.5: {"hidden7": 1}}}, "optimizer[0].later.0.5.hidden7: no such layer"),
        ({"later": {0.5: {"first": 1}}, "adapt": 10}, "later and adapt are both given"),
        ({"adapt_rate": 2}, "adapt_rate: only used with adapt"),
        ({"adapt": 0}, "optimizer[0].adapt: 0 is out of range"),
        ({"adapt": 30}, "optimizer[0].adapt: 30: speeds would never change in 30 steps"),
        ({"on": "adamm"}, "optimizer[0].on: 'adamm': did you mean 'adam'?"),
        ({"speeds": {"hidden7": 1}}, "optimizer[0].speeds.hidden7: no such layer"),
    ],
)
def test_what_makes_no_sense_is_one_line(entry: dict[str, object], said: str) -> None:
    with pytest.raises(SweepError) as caught:
        tiny_sweep(optimizer=[{"name": "slo", "lr": 0.1, **entry}])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
