"""Every optimizer step by step against that of torch, or against plain formulas if torch has none."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, optim

from nfa.optim import OptimizerSettings
from nfa.optim.adam import AdamSettings
from nfa.optim.adamw import AdamWSettings
from nfa.optim.lion import LionSettings
from nfa.optim.muon import MuonSettings
from nfa.optim.rmsprop import RMSpropSettings
from nfa.optim.schedule import schedule_factor
from nfa.optim.sgd import SGDSettings
from nfa.optim.signsgd import SignSGDSettings
from tests.optim.families import SHAPES, STEPS, advance, build, gradients, parameters


def same_steps(settings: OptimizerSettings, other: Callable[[list[Tensor]], optim.Optimizer], names: list[str]) -> None:
    """Check that the optimizer of an entry and another optimizer move float64 parameters alike."""
    ours = {name: value for name, value in parameters(0).items() if name in names}
    theirs = {name: value.clone() for name, value in ours.items()}
    mine, reference = build(settings, ours), other(list(theirs.values()))
    for step in range(STEPS):
        given = gradients(0, step)
        advance(mine, settings, ours, given, step)
        advance(reference, settings, theirs, given, step)
    for name in names:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-12)


TORCH: list[tuple[OptimizerSettings, Callable[[list[Tensor]], optim.Optimizer]]] = [
    (
        SGDSettings(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1),
    ),
    (
        AdamSettings(lr=0.1, beta1=0.8, beta2=0.9, weight_decay=0.1),
        lambda p: optim.Adam(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1),
    ),
    (
        AdamWSettings(lr=0.1, beta1=0.8, beta2=0.9, weight_decay=0.3),
        lambda p: optim.AdamW(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.3),
    ),
    (
        RMSpropSettings(lr=0.1, alpha=0.9, momentum=0.8, weight_decay=0.1),
        lambda p: optim.RMSprop(p, lr=0.1, alpha=0.9, momentum=0.8, weight_decay=0.1),
    ),
]


@pytest.mark.parametrize(("settings", "other"), TORCH, ids=lambda value: getattr(value, "name", ""))
def test_settings_reach_torch(settings: OptimizerSettings, other: Callable[[list[Tensor]], optim.Optimizer]) -> None:
    same_steps(settings, other, list(SHAPES))


def test_muons_inner_adamw_is_torchs() -> None:
    settings = MuonSettings(lr=0.5, inner_lr=0.1, weight_decay=0.3, beta1=0.8, beta2=0.9)

    def reference(tensors: list[Tensor]) -> optim.Optimizer:
        optimizer = optim.AdamW(tensors, lr=0.1, betas=(0.8, 0.9), weight_decay=0.3)
        step = optimizer.step

        def scaled() -> None:  # the loop sets the learning rate of matrices
            for group in optimizer.param_groups:
                group["lr"] *= 0.2
            step()

        optimizer.step = scaled  # type: ignore[method-assign, assignment]
        return optimizer

    same_steps(settings, reference, ["conv.bias", "1.bias", "s"])


@pytest.mark.skipif(not hasattr(optim, "Muon"), reason="torch.optim.Muon is of torch 2.9 and later")
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_torchs_but_for_the_precision_of_its_iteration(
    adjust: str, nesterov: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch iterates in bfloat16: let it iterate in the parameters' own precision.
    monkeypatch.setattr(Tensor, "bfloat16", lambda self: self.clone())
    settings = MuonSettings(lr=0.1, momentum=0.8, nesterov=nesterov, adjust=adjust, weight_decay=0.2)  # type: ignore[arg-type]
    same_steps(
        settings,
        lambda p: optim.Muon(
            p, lr=0.1, momentum=0.8, nesterov=nesterov, adjust_lr_fn=adjust, weight_decay=0.2, eps=1e-30
        ),
        ["0.weight", "1.weight"],
    )


@pytest.mark.parametrize(("beta1", "beta2", "decay"), [(0.9, 0.99, 0.0), (0.7, 0.8, 0.3), (0.0, 0.0, 0.0)])
def test_lion_is_its_formula(beta1: float, beta2: float, decay: float) -> None:
    network, settings = parameters(0), LionSettings(lr=0.01, beta1=beta1, beta2=beta2, weight_decay=decay)
    expected = {name: value.clone() for name, value in network.items()}
    momentum = {name: torch.zeros_like(value) for name, value in network.items()}
    optimizer = build(settings, network)
    for step in range(STEPS):
        given = gradients(0, step)
        for name, gradient in given.items():
            lr = 0.01 * schedule_factor("cosine", step, 2 * STEPS, warmup=0.2)
            sign = torch.sign(beta1 * momentum[name] + (1 - beta1) * gradient)
            expected[name] = expected[name] - lr * sign - lr * decay * expected[name]
            momentum[name] = beta2 * momentum[name] + (1 - beta2) * gradient
        advance(optimizer, settings, network, given, step)
    for name in SHAPES:
        torch.testing.assert_close(network[name], expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_signsgd_is_its_formula(beta: float) -> None:
    network, settings = parameters(0), SignSGDSettings(lr=0.01, momentum=beta, weight_decay=0.1)
    expected = {name: value.clone() for name, value in network.items()}
    mean = {name: torch.zeros_like(value) for name, value in network.items()}
    optimizer = build(settings, network)
    for step in range(STEPS):
        given = gradients(0, step)
        for name, gradient in given.items():
            lr = 0.01 * schedule_factor("cosine", step, 2 * STEPS, warmup=0.2)
            mean[name] = beta * mean[name] + (1 - beta) * gradient
            expected[name] = expected[name] - lr * torch.sign(mean[name]) - lr * 0.1 * expected[name]
        advance(optimizer, settings, network, given, step)
    for name in SHAPES:
        torch.testing.assert_close(network[name], expected[name], rtol=0, atol=1e-12)
    assert bool(optimizer.state_dict()["state"]) == (beta > 0)
