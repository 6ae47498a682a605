"""Speeds that follow the measured alignment."""

import math
from typing import Any

import pytest

from nfa.optim.adapt import adapted_speeds

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
