"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nfa.optim.entry import OptimizerEntry, OptimizerSettings
from nfa.settings import setting

if TYPE_CHECKING:
    import torch


class SGD(OptimizerSettings):
    """Settings of ``sgd``."""

    name: Literal["sgd"] = "sgd"
    momentum: float = setting(0.0, "momentum", ge=0, lt=1)
    weight_decay: float = setting(0.0, "coupled weight decay lambda", ge=0, le=1e6)

    tags = {"lr": "lr", "momentum": "m", "weight_decay": "wd", "schedule": ""}
    quiet_tags = frozenset({"momentum", "weight_decay", "schedule"})


def build(settings: SGD, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer."""
    from torch import optim

    return optim.SGD(model.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)


def first_update(settings: SGD, gradient: torch.Tensor) -> torch.Tensor:
    """Return minus the gradient: the direction of gradient flow."""
    return -gradient


ENTRY = OptimizerEntry(
    SGD, build, first_update, lambda settings: settings.weight_decay, about="gradient descent, momentum"
)
