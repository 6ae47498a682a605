"""Settings of Muon. The optimizer itself is in ``nfa/optim/algorithms/muon.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from nfa.entries import non_default, setting
from nfa.optim.entry import COMMON_TAGS, OptimizerEntry, OptimizerSettings, Parameters

if TYPE_CHECKING:
    import torch


class MuonSettings(OptimizerSettings):
    """Settings of ``muon``."""

    name: Literal["muon"] = "muon"
    lr: float = setting(0.02, "learning rate of matrices at the start", gt=0, le=1e6)
    momentum: float = setting(0.95, "decay of the mean of gradients", ge=0, lt=1)
    nesterov: bool = setting(True, "Nesterov's momentum")
    ns_steps: int = setting(5, "steps of the Newton-Schulz iteration", ge=1, le=100)
    adjust: Literal["original", "match_rms_adamw"] = setting(
        "original", "factor on a step of a (k, d) matrix: sqrt(max(1, k/d)), or 0.2 sqrt(max(k, d)) for AdamW's size"
    )
    weight_decay: float = setting(0.0, "decoupled weight decay lambda: W shrinks by lr lambda W", ge=0, le=1e6)
    inner: Literal["adamw", "sgd"] = setting(
        "adamw", "optimizer of biases and all other parameters that are not matrices"
    )
    inner_lr: float = setting(
        0.001, "learning rate of the inner optimizer at the start; the schedule is the same", gt=0, le=1e6
    )
    beta1: float = setting(0.9, "inner adamw: decay of the mean of gradients", ge=0, lt=1)
    beta2: float = setting(0.999, "inner adamw: decay of the mean of squared gradients", ge=0, lt=1)

    tags = {"lr": "lr", "momentum": "m", "weight_decay": "wd", "inner": ""} | COMMON_TAGS
    quiet_tags = frozenset({"momentum", "weight_decay", "inner", *COMMON_TAGS})


def build(settings: MuonSettings, parameters: Parameters) -> torch.optim.Optimizer:
    """Make the optimizer."""
    from nfa.optim.algorithms.muon import Muon

    groups = parameters.groups(settings.lr)
    for group in groups:  # the factors are for entrywise steps, and only the inner AdamW takes such steps
        factor, group["lr"] = group.pop("lr_factor"), settings.lr
        group["ratio"] = settings.inner_lr / settings.lr * (factor if settings.inner == "adamw" else 1.0)
    return Muon(
        groups,
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        steps=settings.ns_steps,
        adjust=settings.adjust,
        inner=settings.inner,
        inner_lr=settings.inner_lr,
        betas=(settings.beta1, settings.beta2),
        stacked=parameters.stacked,
    )


def canonical(settings: MuonSettings, layer_names: Sequence[str]) -> dict[str, Any]:
    """Identify the entry by the settings that have an effect: an inner SGD has no betas."""
    unused = {"beta1", "beta2"} if settings.inner == "sgd" else set()
    return {key: value for key, value in non_default(settings).items() if key not in unused}


ENTRY = OptimizerEntry(
    MuonSettings,
    build,
    about="momentum, orthogonalised matrix by matrix",
    decoupled_decay=lambda settings: settings.weight_decay,
    canonical=canonical,
)
