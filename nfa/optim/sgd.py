"""Stochastic gradient descent, with Polyak's momentum (1964) or Nesterov's (Sutskever et al., ICML 2013)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from nfa.entries import setting
from nfa.optim.entry import COMMON_TAGS, OptimizerEntry, OptimizerSettings, Parameters

if TYPE_CHECKING:
    import torch


class SGDSettings(OptimizerSettings):
    """Settings of ``sgd``."""

    name: Literal["sgd"] = "sgd"
    momentum: float = setting(0.0, "momentum", ge=0, lt=1)
    nesterov: bool = setting(False, "Nesterov's momentum")
    weight_decay: float = setting(0.0, "coupled weight decay lambda", ge=0, le=1e6)

    tags = {"lr": "lr", "momentum": "m", "nesterov": "nesterov", "weight_decay": "wd"} | COMMON_TAGS
    quiet_tags = frozenset({"momentum", "nesterov", "weight_decay", *COMMON_TAGS})

    @model_validator(mode="after")
    def _momentum_for_nesterov(self) -> SGDSettings:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: true needs a momentum; use one of more than 0, or leave nesterov out")
        return self


def build(settings: SGDSettings, parameters: Parameters) -> torch.optim.Optimizer:
    """Make the optimizer."""
    from torch import optim

    return optim.SGD(
        parameters.tensors,
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )


ENTRY = OptimizerEntry(
    SGDSettings, build, about="gradient descent, momentum", weight_decay=lambda settings: settings.weight_decay
)
