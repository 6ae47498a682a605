"""Settings of every optimizer, and the parameters, gradients and steps of one small network."""

import pytest
import torch
from torch import Tensor, optim

from nfa.optim import OPTIMIZERS, OptimizerSettings, clip_
from nfa.optim.adam import AdamSettings
from nfa.optim.adamw import AdamWSettings
from nfa.optim.lion import LionSettings
from nfa.optim.muon import MuonSettings
from nfa.optim.rmsprop import RMSpropSettings
from nfa.optim.schedule import schedule_factor
from nfa.optim.sgd import SGDSettings
from nfa.optim.signsgd import SignSGDSettings
from nfa.optim.slo import SLOSettings

# A grouped convolution's weight, its bias, a wide and a tall matrix, a bias, a scalar.
SHAPES = {
    "conv.weight": (4, 2, 3, 3),
    "conv.bias": (4,),
    "0.weight": (3, 7),
    "1.weight": (6, 3),
    "1.bias": (6,),
    "s": (),
}
SEEDS, STEPS = 3, 20
SPEEDS = {"conv": 0.5, "first": 0.5, "1": 2.0, "others": 0.1}
FAMILIES: list[OptimizerSettings] = [
    SGDSettings(lr=0.1),
    SGDSettings(lr=0.1, momentum=0.9, weight_decay=0.1, clip=0.5),
    SGDSettings(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    AdamSettings(lr=0.01, weight_decay=0.1, clip=0.5),
    AdamWSettings(lr=0.01, weight_decay=0.2, clip=0.5),
    RMSpropSettings(lr=0.01, momentum=0.9, weight_decay=0.1, clip=0.5),
    LionSettings(lr=0.01, weight_decay=0.2, clip=0.5),
    SignSGDSettings(lr=0.01),
    SignSGDSettings(lr=0.01, momentum=0.9, weight_decay=0.2, clip=0.5),
    MuonSettings(lr=0.02, weight_decay=0.2, clip=0.5),
    MuonSettings(lr=0.02, nesterov=False, momentum=0.8, inner="sgd", inner_lr=0.05, adjust="match_rms_adamw"),
    SLOSettings(lr=0.1, speeds={"conv": 0.5, "1": 2.0, "others": 0.1}, clip=0.5),
    SLOSettings(lr=0.1, speeds={"con*": 0.5, "1": 2.0, "others": 0.1}, on="adam", clip=0.5),
    SLOSettings(lr=0.1, speeds={"conv": 0.5, "1": 2.0, "others": 0.1}, on="momentum", clip=0.5),
]


def family(settings: OptimizerSettings) -> str:
    """Return a name for the settings of a test."""
    changed = settings.model_dump(exclude_defaults=True, exclude={"lr", "speeds"})
    return "-".join([settings.name, *map(str, changed)])  # type: ignore[attr-defined]


every = pytest.mark.parametrize("settings", FAMILIES, ids=family)


def random(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw a tensor."""
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def parameters(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Draw the parameters of one network."""
    return {name: random(shape, 100 * seed + i, dtype) for i, (name, shape) in enumerate(SHAPES.items())}


def gradients(seed: int, step: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Draw the gradients of one network at a step, with a different size for each network."""
    return {
        name: random(shape, 10_000 * (step + 1) + 100 * seed + i, dtype) * 0.1 * (seed + 0.3)
        for i, (name, shape) in enumerate(SHAPES.items())
    }


def build(settings: OptimizerSettings, named: dict[str, Tensor], *, stacked: bool = False) -> optim.Optimizer:
    """Make the optimizer of an entry."""
    return OPTIMIZERS[settings.name].build(settings, named, stacked=stacked)  # type: ignore[attr-defined]


def advance(
    optimizer: optim.Optimizer,
    settings: OptimizerSettings,
    named: dict[str, Tensor],
    given: dict[str, Tensor],
    step: int,
    *,
    stacked: bool = False,
) -> None:
    """Take one step as the training loop does: gradients, clipping, learning rate, step."""
    for name, value in named.items():
        value.grad = given[name].clone()
    clip_(named.values(), settings.clip, stacked=stacked)
    for group in optimizer.param_groups:
        group["lr"] = settings.lr * schedule_factor("cosine", step, 2 * STEPS, warmup=0.2)
    optimizer.step()
