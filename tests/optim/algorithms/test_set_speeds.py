"""SLO with speeds that change between steps, and with momentum."""

import math

import pytest
import torch
from torch import nn

from nfa.optim import SpeedLimited


def model_with_gradients() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


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
