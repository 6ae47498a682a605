"""The optimizer axis: Speed Limited Optimization against its formula, speeds, schedules, first updates."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from nfa.optim import OPTIMIZERS
from nfa.optim.adam import Adam
from nfa.optim.schedule import schedule_factor
from nfa.optim.sgd import SGD
from nfa.optim.slo import SLO
from nfa.optim.speed_limited import SpeedLimited
from nfa.optim.speeds import resolve_speeds

LAYERS = ["hidden0", "hidden1", "readout"]


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
        ({"speeds": 2.0}, "speeds: 2.0 must say whose they are"),
        ({"speeds": [1, 2]}, "speeds: [1, 2] must say whose they are"),
        ({"speeds": {"first": "fast"}}, "speeds: first: 'fast' is not a speed"),
        ({"speeds": {"first": None}}, "speeds: first: None is not a speed"),
        ({"speeds": {"first": True}}, "speeds: first: True is not a speed"),
        ({"speeds": {9: 1.0}}, "9: no such layer"),
        ({"speeds": {0: 1.0, "0": 2.0}}, "a layer stands there twice"),
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


def test_schedules_start_at_one_and_decay_to_zero() -> None:
    assert [schedule_factor("constant", step, 10) for step in (0, 5, 10)] == [1, 1, 1]
    assert [schedule_factor("linear", step, 10) for step in (0, 5, 10)] == [1, 0.5, 0]
    assert [schedule_factor("cosine", step, 10) for step in (0, 5, 10)] == pytest.approx([1, 0.5, 0])


FIRST_UPDATES = [SGD(lr=1e-3), Adam(lr=1e-3), SLO(lr=1e-3, speeds={"first": 2.0})]


@pytest.mark.parametrize("settings", FIRST_UPDATES, ids=lambda settings: settings.name)
def test_the_first_update_is_the_direction_that_the_optimizer_takes(settings: SGD | Adam | SLO) -> None:
    model = network()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    entry = OPTIMIZERS[settings.name]
    optimizer = entry.build(settings, model)
    backward(model)
    optimizer.step()
    for name, value in model.named_parameters():
        assert value.grad is not None
        taken, predicted = value.detach() - before[name], entry.first_update(settings, value.grad)
        assert torch.cosine_similarity(taken.flatten(), predicted.flatten(), dim=0).item() == pytest.approx(1, abs=1e-4)
