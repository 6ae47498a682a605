"""RMSprop: the gradient over the root of its mean square (Hinton's lecture 6e, 2012; arXiv 1308.0850)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nfa.entries import setting
from nfa.optim.entry import COMMON_TAGS, OptimizerEntry, OptimizerSettings, Parameters

if TYPE_CHECKING:
    import torch


class RMSpropSettings(OptimizerSettings):
    """Settings of ``rmsprop``."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: float = setting(0.001, "learning rate at the start", gt=0, le=1e6)
    alpha: float = setting(0.99, "decay of the mean of squared gradients", ge=0, lt=1)
    momentum: float = setting(0.0, "momentum of the steps", ge=0, lt=1)
    weight_decay: float = setting(0.0, "coupled weight decay lambda", ge=0, le=1e6)

    tags = {"lr": "lr", "momentum": "m", "weight_decay": "wd"} | COMMON_TAGS
    quiet_tags = frozenset({"momentum", "weight_decay", *COMMON_TAGS})


def build(settings: RMSpropSettings, parameters: Parameters) -> torch.optim.Optimizer:
    """Make the optimizer."""
    from torch import optim

    return optim.RMSprop(
        parameters.groups(settings.lr),
        lr=settings.lr,
        alpha=settings.alpha,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


ENTRY = OptimizerEntry(
    RMSpropSettings,
    build,
    about="gradient over its root mean square",
    weight_decay=lambda settings: settings.weight_decay,
)
