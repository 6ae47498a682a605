"""Speeds of layers: by name, index, place and pattern."""

import pytest
import torch

from nfa.optim.algorithms.speed_limited import SpeedLimited
from nfa.optim.layer_speeds import resolve_speeds

LAYERS = ["hidden0", "hidden1", "readout"]


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({}, [1, 1, 1]),
        ({"others": 0.5}, [0.5, 0.5, 0.5]),
        ({"first": 2, "others": 0.1}, [2, 0.1, 0.1]),
        ({"last": 2}, [1, 1, 2]),
        ({"hidden1": 0, "others": 3}, [3, 0, 3]),
        ({"1": 7, "-1": 8}, [1, 7, 8]),
    ],
)
def test_speeds_resolve_by_name_index_and_place(speeds: dict[str, float], expected: list[float]) -> None:
    assert resolve_speeds(speeds, LAYERS) == dict(zip(LAYERS, expected, strict=True))


@pytest.mark.parametrize("speeds", [{"hidden9": 1.0}, {"3": 1.0}, {"first": 1.0, "hidden0": 2.0}, {"First": 1.0}])
def test_wrong_speeds_are_refused(speeds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"no such layer|has a speed already"):
        resolve_speeds(speeds, LAYERS)


def test_speeds_by_pattern_and_forward_order() -> None:
    names = ["blocks.0.attention.q", "blocks.0.mlp", "blocks.1.attention.q", "blocks.1.mlp", "head"]
    named = [
        (f"{name}.{kind}", torch.zeros((2, 2) if kind == "weight" else 2))
        for name in names
        for kind in ("weight", "bias")
    ]
    speeds = {"blocks.*.attention.*": 2.0, "blocks.1.mlp": 3.0, "*.mlp": 4.0, "last": 5.0, "others": 9.0}
    groups = SpeedLimited(named, lr=1.0, speeds=speeds).param_groups
    assert [group["speed"] for group in groups] == [2, 2, 4, 4, 2, 2, 3, 3, 5, 5]
    groups = SpeedLimited(named, lr=1.0, speeds={"first": 2.0, "1": 3.0}, layers=["head", "blocks.0.mlp"]).param_groups
    assert [group["speed"] for group in groups] == [1, 1, 3, 3, 1, 1, 1, 1, 2, 2]
    with pytest.raises(ValueError, match="no such layer"):
        SpeedLimited(named, lr=1.0, speeds={"blocks.*.attn.*": 2.0})
    with pytest.raises(ValueError, match="has a speed already"):
        SpeedLimited(named, lr=1.0, speeds={"blocks.*": 2.0, "*.mlp": 2.0})


def test_parts_of_one_parameter_have_one_speed() -> None:
    layers = ["attn.in_proj_weight[0:2]", "attn.in_proj_weight[2:4]", "attn.out_proj", "rnn.weight_ih_l0"]
    named = [("attn.in_proj_weight", torch.zeros(4, 2)), ("attn.in_proj_bias", torch.zeros(4))]
    named += [("attn.out_proj.weight", torch.zeros(2, 2)), ("rnn.weight_ih_l0", torch.zeros(2, 2))]
    named += [("rnn.bias_ih_l0", torch.zeros(2)), ("norm.weight", torch.zeros(2))]
    speeds = {"attn.in_proj_weight*": 2.0, "2": 3.0, "last": 4.0, "others": 5.0}
    groups = SpeedLimited(named, lr=1.0, speeds=speeds, layers=layers).param_groups
    assert [group["speed"] for group in groups] == [2, 2, 3, 4, 4, 5]
    with pytest.raises(ValueError, match="one speed"):
        SpeedLimited(named, lr=1.0, speeds={"first": 2.0}, layers=layers)
