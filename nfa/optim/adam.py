"""Adam (Kingma & Ba, arXiv 1412.6980)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nfa.entries import setting
from nfa.optim.entry import COMMON_TAGS, OptimizerEntry, OptimizerSettings, Parameters

if TYPE_CHECKING:
    import torch


class AdamSettings(OptimizerSettings):
    """Settings of ``adam``."""

    name: Literal["adam"] = "adam"
    lr: float = setting(0.001, "learning rate at the start", gt=0, le=1e6)
    beta1: float = setting(0.9, "decay of the mean of gradients", ge=0, lt=1)
    beta2: float = setting(0.999, "decay of the mean of squared gradients", ge=0, lt=1)
    weight_decay: float = setting(0.0, "coupled weight decay lambda", ge=0, le=1e6)

    tags = {"lr": "lr", "weight_decay": "wd"} | COMMON_TAGS
    quiet_tags = frozenset({"weight_decay", *COMMON_TAGS})


def build(settings: AdamSettings, parameters: Parameters) -> torch.optim.Optimizer:
    """Make the optimizer."""
    from torch import optim

    return optim.Adam(
        parameters.groups(settings.lr),
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
    )


ENTRY = OptimizerEntry(
    AdamSettings, build, about="adaptive moments", weight_decay=lambda settings: settings.weight_decay
)
