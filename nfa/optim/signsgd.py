"""signSGD and, with momentum, Signum (Bernstein et al., arXiv 1802.04434).

The optimizer itself is in ``nfa/optim/algorithms/sign.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nfa.entries import setting
from nfa.optim.entry import COMMON_TAGS, OptimizerEntry, OptimizerSettings, Parameters

if TYPE_CHECKING:
    import torch


class SignSGDSettings(OptimizerSettings):
    """Settings of ``signsgd``."""

    name: Literal["signsgd"] = "signsgd"
    lr: float = setting(
        0.001, "learning rate at the start: the distance that each weight moves in a step", gt=0, le=1e6
    )
    momentum: float = setting(0.0, "decay of the mean of gradients whose sign is taken", ge=0, lt=1)
    weight_decay: float = setting(0.0, "decoupled weight decay lambda: W shrinks by lr lambda W", ge=0, le=1e6)

    tags = {"lr": "lr", "momentum": "m", "weight_decay": "wd"} | COMMON_TAGS
    quiet_tags = frozenset({"momentum", "weight_decay", *COMMON_TAGS})


def build(settings: SignSGDSettings, parameters: Parameters) -> torch.optim.Optimizer:
    """Make the optimizer: that of Lion, with two equal betas."""
    from nfa.optim.algorithms.sign import SignDescent

    betas = (settings.momentum, settings.momentum)
    return SignDescent(parameters.groups(settings.lr, settings.weight_decay), lr=settings.lr, betas=betas)


ENTRY = OptimizerEntry(
    SignSGDSettings,
    build,
    about="sign of the gradient, or of its mean",
    decoupled_decay=lambda settings: settings.weight_decay,
)
