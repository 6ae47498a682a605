"""The direction of the first step of every optimizer, against a formula of one line each."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nfa.optim import OPTIMIZERS, OptimizerSettings
from nfa.optim.algorithms.first_step import first_update
from tests.optim.families import SHAPES, advance, build, every, gradients, parameters

COUPLED = ("sgd", "adam", "rmsprop")  # lambda W is added to the gradient; elsewhere the step has it beside


def orthogonal(settings: Any, gradient: Tensor) -> Tensor:
    """Return Muon's direction: the quintic iteration, then the factor for the size.

    The g blocks of one weight (g, k, d) are one matrix (g k, d).
    """
    x = gradient.reshape(-1, gradient.shape[-1])
    k, d = x.shape
    x = x / x.norm()
    for _ in range(settings.ns_steps):
        x = 3.4445 * x - 4.775 * x @ x.T @ x + 2.0315 * x @ x.T @ x @ x.T @ x
    factor = math.sqrt(max(1, k / d)) if settings.adjust == "original" else 0.2 * math.sqrt(max(k, d))
    step: Tensor = x.reshape(gradient.shape) * factor
    return step


# Settings and gradient -> minus the step, up to a positive factor; where decay is beside it, over the learning rate.
STEPS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "sgd": lambda settings, gradient: gradient,
    "adam": lambda settings, gradient: gradient.sign(),  # after bias correction m / sqrt(m^2)
    "adamw": lambda settings, gradient: gradient.sign(),
    "rmsprop": lambda settings, gradient: gradient.sign(),  # the mean square is (1 - alpha) g^2
    "lion": lambda settings, gradient: gradient.sign(),
    "signsgd": lambda settings, gradient: gradient.sign(),
    "muon": orthogonal,
    # Normalising and a layer's speed keep the direction.
    "slo": lambda settings, gradient: gradient.sign() if settings.on == "adam" else gradient,
}


def expected(settings: Any, gradient: Tensor, weight: Tensor, norm: float) -> Tensor:
    """Return the direction of the first step: clipping by the norm of all gradients, then decay, then the optimizer."""
    gradient = gradient * min(1.0, (settings.clip or math.inf) / norm)
    decay = getattr(settings, "weight_decay", 0.0) * weight
    if settings.name in COUPLED:
        return -STEPS[settings.name](settings, gradient + decay)
    return -STEPS[settings.name](settings, gradient) - decay


def cosine(a: Tensor, b: Tensor) -> float:
    """Return the cosine of the angle between two tensors of one shape."""
    assert a.shape == b.shape
    return torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


@every
def test_the_first_step_has_the_direction_of_its_formula(settings: OptimizerSettings) -> None:
    network, given = parameters(0), gradients(1, 0)
    before = {name: value.clone() for name, value in network.items()}
    norm = math.sqrt(sum(value.square().sum().item() for value in given.values()))
    alone = first_update(before, given, lambda named: build(settings, named), settings.clip)
    advance(build(settings, network), settings, network, given, 0)
    for name in ("conv.weight", "0.weight", "1.weight"):
        # The grouped convolution's two blocks, as a layer is measured.
        shape = (2, 2, 18) if name == "conv.weight" else SHAPES[name]
        direction = expected(settings, given[name].reshape(shape), before[name].reshape(shape), norm)
        assert cosine((network[name] - before[name]).reshape(shape), direction) > 1 - 1e-9
        assert cosine(alone[name].reshape(shape), direction) > 1 - 1e-9
    for name in ("conv.bias", "1.bias") if settings.name != "muon" else ():  # type: ignore[attr-defined]
        assert cosine(network[name] - before[name], expected(settings, given[name], before[name], norm)) > 1 - 1e-9


@every
def test_the_entry_names_the_decay_that_is_coupled(settings: OptimizerSettings) -> None:
    name = settings.name  # type: ignore[attr-defined]
    coupled = getattr(settings, "weight_decay", 0.0) if name in COUPLED else 0.0
    assert OPTIMIZERS[name].weight_decay(settings) == coupled


def test_every_optimizer_has_its_formula() -> None:
    assert STEPS.keys() == OPTIMIZERS.keys()
