"""AdamW: Adam with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nfa.entries import setting
from nfa.optim.entry import COMMON_TAGS, OptimizerEntry, OptimizerSettings, Parameters

if TYPE_CHECKING:
    import torch


class AdamWSettings(OptimizerSettings):
    """Settings of ``adamw``."""

    name: Literal["adamw"] = "adamw"
    lr: float = setting(0.001, "learning rate at the start", gt=0, le=1e6)
    beta1: float = setting(0.9, "decay of the mean of gradients", ge=0, lt=1)
    beta2: float = setting(0.999, "decay of the mean of squared gradients", ge=0, lt=1)
    weight_decay: float = setting(0.01, "decoupled weight decay lambda: W shrinks by lr lambda W", ge=0, le=1e6)

    tags = {"lr": "lr", "weight_decay": "wd"} | COMMON_TAGS
    quiet_tags = frozenset({"weight_decay", *COMMON_TAGS})


def build(settings: AdamWSettings, parameters: Parameters) -> torch.optim.Optimizer:
    """Make the optimizer."""
    from torch import optim

    groups = parameters.groups(settings.lr, settings.weight_decay)
    return optim.AdamW(groups, lr=settings.lr, betas=(settings.beta1, settings.beta2))


ENTRY = OptimizerEntry(
    AdamWSettings,
    build,
    about="Adam with decoupled weight decay",
    decoupled_decay=lambda settings: settings.weight_decay,
)
