"""Speed Limited Optimization as an entry of the optimizer axis (the optimizer itself: ``speed_limited.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from nfa.optim.entry import COMMON_TAGS, OptimizerEntry, OptimizerSettings, Parameters, ScheduleName
from nfa.optim.speeds import resolve_speeds
from nfa.settings import non_default, setting

if TYPE_CHECKING:
    import torch


class SLO(OptimizerSettings):
    """Settings of ``slo``."""

    name: Literal["slo"] = "slo"
    lr: float = setting(0.1, "length of a step of a layer of speed 1, at the start", gt=0, le=1e6)
    speeds: dict[str, float] = Field(
        default_factory=lambda: {"others": 1.0},
        description="speed of each layer, by `first`, `last`, its index, its name, a pattern of names, or `others`",
    )
    on: Literal["sgd", "adam"] = setting("sgd", "what is normalised: the gradient, or Adam's direction")
    schedule: ScheduleName = setting("linear", "steps of fixed length do not shrink near a minimum: decay them")
    eps: float = setting(1e-8, "added to the norm of what is normalised", gt=0, le=1)
    beta1: float = setting(0.9, "on adam: decay of the mean of gradients", ge=0, lt=1)
    beta2: float = setting(0.999, "on adam: decay of the mean of squared gradients", ge=0, lt=1)

    tags = {"lr": "lr", "speeds": "", "on": "on"} | COMMON_TAGS
    quiet_tags = frozenset({"speeds", "on", *COMMON_TAGS})

    @field_validator("speeds")
    @classmethod
    def _not_negative(cls, speeds: dict[str, float]) -> dict[str, float]:
        for layer, speed in speeds.items():
            if speed < 0:
                raise ValueError(f"{layer}: {speed:g} is negative; a speed is 0 or more")
        return speeds


def build(settings: SLO, parameters: Parameters) -> torch.optim.Optimizer:
    """Make the optimizer."""
    from nfa.optim.speed_limited import SpeedLimited

    return SpeedLimited(
        parameters.named,
        lr=settings.lr,
        speeds=settings.speeds,
        eps=settings.eps,
        direction="adam" if settings.on == "adam" else "gradient",
        betas=(settings.beta1, settings.beta2),
        stacked=parameters.stacked,
        layers=parameters.layers,
    )


def first_update(settings: SLO, gradient: torch.Tensor) -> torch.Tensor:
    """Return minus the gradient, or its sign on adam: normalising and a layer's speed keep a direction."""
    return -gradient.sign() if settings.on == "adam" else -gradient


def canonical(settings: SLO, layer_names: Sequence[str]) -> dict[str, Any]:
    """Spell out every layer's speed, and leave out what has no effect: two ways to say the same are the same cell.

    Raises:
        ValueError: A speed for a layer that is not there.
    """
    unused = {"beta1", "beta2"} if settings.on == "sgd" else set()
    identity = {key: value for key, value in non_default(settings).items() if key not in unused}
    return identity | {"speeds": resolve_speeds(settings.speeds, layer_names)}


ENTRY = OptimizerEntry(
    SLO,
    build,
    first_update,
    lambda settings: 0.0,
    about="Speed Limited Optimization: a speed per layer",
    canonical=canonical,
)
