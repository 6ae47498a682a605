"""Lion: steps along the sign of an interpolated momentum (Chen et al., arXiv 2302.06675).

The optimizer itself is in ``nfa/optim/algorithms/sign.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nfa.entries import setting
from nfa.optim.entry import COMMON_TAGS, OptimizerEntry, OptimizerSettings, Parameters

if TYPE_CHECKING:
    import torch


class LionSettings(OptimizerSettings):
    """Settings of ``lion``."""

    name: Literal["lion"] = "lion"
    lr: float = setting(
        0.0003, "learning rate at the start: the distance that each weight moves in a step", gt=0, le=1e6
    )
    beta1: float = setting(
        0.9, "share of the momentum in the mean of momentum and gradient whose sign is taken", ge=0, lt=1
    )
    beta2: float = setting(0.99, "decay of the momentum", ge=0, lt=1)
    weight_decay: float = setting(0.0, "decoupled weight decay lambda: W shrinks by lr lambda W", ge=0, le=1e6)

    tags = {"lr": "lr", "weight_decay": "wd"} | COMMON_TAGS
    quiet_tags = frozenset({"weight_decay", *COMMON_TAGS})


def build(settings: LionSettings, parameters: Parameters) -> torch.optim.Optimizer:
    """Make the optimizer."""
    from nfa.optim.algorithms.sign import SignDescent

    betas = (settings.beta1, settings.beta2)
    return SignDescent(parameters.groups(settings.lr, settings.weight_decay), lr=settings.lr, betas=betas)


ENTRY = OptimizerEntry(
    LionSettings,
    build,
    about="sign of an interpolated momentum",
    decoupled_decay=lambda settings: settings.weight_decay,
)
