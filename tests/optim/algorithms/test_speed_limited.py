"""Speed Limited Optimization against its formula, and the layers that have a speed."""

import re
from typing import Any

import pytest
import torch
from torch import nn, optim

from nfa.optim import OPTIMIZERS
from nfa.optim.algorithms.speed_limited import SpeedLimited
from nfa.optim.slo import SLOSettings
from tests.optim.families import SHAPES, STEPS, gradients, parameters


def network() -> nn.Sequential:
    """Return a small float64 network with biases."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()


def backward(model: nn.Module) -> None:
    """Give every parameter a gradient."""
    inputs = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    model(inputs).square().mean().backward()


def test_speed_limited_takes_the_step_of_its_formula() -> None:
    model = network()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    given = {"first": 1.0, "2": 3.0, "others": 0.01}
    optimizer = SpeedLimited(model.named_parameters(), lr=0.2, speeds=given, eps=1e-3)
    backward(model)
    optimizer.step()
    # The layers are called 0, 2 and 4, and a name comes before an index.
    speeds = {"0": 1.0, "2": 3.0, "4": 0.01}
    for name, value in model.named_parameters():
        assert value.grad is not None
        expected = before[name] - 0.2 * speeds[name.split(".")[0]] * value.grad / (value.grad.norm() + 1e-3)
        torch.testing.assert_close(value.detach(), expected, rtol=1e-12, atol=0)


def test_speed_limited_does_not_depend_on_the_scale_of_the_gradient() -> None:
    moved = []
    for scale in (1.0, 1e6):
        model = network()
        optimizer = SpeedLimited(model.named_parameters(), lr=0.1, eps=1e-12)
        backward(model)
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad *= scale
        optimizer.step()
        moved.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-9, atol=1e-12)


def test_speed_limited_leaves_a_layer_of_speed_zero_and_a_zero_gradient_alone() -> None:
    model = network()
    optimizer = SpeedLimited(model.named_parameters(), lr=0.1, speeds={"last": 0.0})
    before = model.get_parameter("4.weight").detach().clone()
    backward(model)
    model.get_parameter("0.weight").grad = torch.zeros(4, 5, dtype=torch.float64)
    first = model.get_parameter("0.weight").detach().clone()
    optimizer.step()
    assert torch.equal(model.get_parameter("4.weight"), before)
    assert torch.equal(model.get_parameter("0.weight"), first)


def test_a_saved_state_holds_the_speeds() -> None:
    """The attribute ``speeds`` of a resumed optimizer agrees with its steps, also for parts of a module."""
    model = network()
    saved = SpeedLimited(model.named_parameters(), lr=0.1, speeds={"first": 1.0, "others": 0.1})
    saved.set_speeds({"last": 2.0, "others": 0.5})
    resumed = SpeedLimited(model.named_parameters(), lr=0.1)
    resumed.load_state_dict(saved.state_dict())
    assert resumed.speeds == saved.speeds == {"0": 0.5, "2": 0.5, "4": 2.0}
    assert [group["speed"] for group in resumed.param_groups] == [0.5, 0.5, 0.5, 0.5, 2, 2]
    attention = nn.MultiheadAttention(4, 2)
    layers = ["in_proj_weight[0:4]", "in_proj_weight[4:8]", "out_proj"]
    pair = [SpeedLimited(attention.named_parameters(), 0.1, {"*_proj_weight*": s}, layers=layers) for s in (3.0, 1.0)]
    pair[1].load_state_dict(pair[0].state_dict())
    assert pair[1].speeds == pair[0].speeds
    assert set(pair[0].speeds.values()) == {3.0, 1.0}


def test_speed_limited_on_adam_follows_adams_direction_at_its_own_speed() -> None:
    network, adams = parameters(0), parameters(0)
    limited = SpeedLimited(
        network.items(), lr=0.1, speeds={"1": 2.0, "others": 0.5}, direction="adam", betas=(0.8, 0.9)
    )
    adam = optim.Adam(list(adams.values()), lr=1.0, betas=(0.8, 0.9))
    for step in range(STEPS):
        before = {name: (network[name].clone(), adams[name].clone()) for name in SHAPES}
        for name, gradient in gradients(0, step).items():
            network[name].grad, adams[name].grad = gradient, gradient.clone()
        limited.step()
        adam.step()
        for name in SHAPES:
            direction = adams[name] - before[name][1]
            speed = 2.0 if name.startswith("1.") else 0.5
            expected = 0.1 * speed * direction / direction.norm()
            torch.testing.assert_close(network[name] - before[name][0], expected, rtol=0, atol=1e-7)


def test_stacked_layers_are_those_of_one_network() -> None:
    named = [("norm.weight", torch.zeros(3, 4)), ("0.weight", torch.zeros(3, 4, 5)), ("0.bias", torch.zeros(3, 4))]
    groups = SpeedLimited(named, lr=1.0, speeds={"first": 2.0}, stacked=True).param_groups
    assert [group["speed"] for group in groups] == [1, 2, 2]
    given = (
        OPTIMIZERS["slo"]
        .build(SLOSettings(speeds={"first": 2.0}), named, stacked=True, layers=["norm", "0"])
        .param_groups
    )
    assert [group["speed"] for group in given] == [2, 1, 1]


def test_speed_limited_refuses_what_makes_no_sense() -> None:
    model = network()
    with pytest.raises(ValueError, match="named_parameters"):
        SpeedLimited(model.parameters(), lr=0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no such layer"):
        SpeedLimited(model.named_parameters(), lr=0.1, speeds={"hidden": 1.0})
    with pytest.raises(ValueError, match="not a speed"):
        SpeedLimited(model.named_parameters(), lr=0.1, speeds={"first": float("nan")})
    with pytest.raises(ValueError, match="step length"):
        SpeedLimited(model.named_parameters(), lr=-1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lr": "fast"}, "lr: 'fast' is not a step length"),
        ({"lr": None}, "lr: None is not a step length"),
        ({"lr": float("inf")}, "lr: inf is not a step length"),
        ({"eps": "x"}, "eps: 'x' must be more than 0"),
        ({"betas": 0.9}, "betas: 0.9 must be two numbers"),
        ({"betas": (0.9,)}, "betas: (0.9,) must be two numbers"),
        ({"speeds": 2.0}, "speeds: 2.0 must be given by layer"),
        ({"speeds": [1, 2]}, "speeds: [1, 2] must be given by layer"),
        ({"speeds": {"first": "fast"}}, "speeds: first: 'fast' is not a speed"),
        ({"speeds": {"first": None}}, "speeds: first: None is not a speed"),
        ({"speeds": {"first": True}}, "speeds: first: True is not a speed"),
        ({"speeds": {9: 1.0}}, "9: no such layer"),
        ({"speeds": {0: 1.0, "0": 2.0}}, "a layer is given twice"),
    ],
)
def test_speed_limited_says_what_is_wrong_with_a_value_of_another_type(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        SpeedLimited(network().named_parameters(), **{"lr": 0.1, **settings})


def test_an_index_may_be_given_as_a_number_and_refused_speeds_change_nothing() -> None:
    optimizer = SpeedLimited(network().named_parameters(), lr=0.1, speeds={0: 3.0, -1: 0.5})
    assert list(optimizer.speeds.values()) == [3.0, 1.0, 0.5]
    with pytest.raises(ValueError, match="not a speed"):
        optimizer.set_speeds({"last": float("nan")})
    assert list(optimizer.speeds.values()) == [3.0, 1.0, 0.5]
