"""Speed Limited Optimization as an entry of the optimizer axis (the optimizer itself: ``speed_limited.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from nfa.optim.entry import OptimizerEntry, OptimizerSettings, ScheduleName
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
        description="speed of each layer, by `first`, `last`, its index, its name, or `others`",
    )
    schedule: ScheduleName = setting("linear", "steps of fixed length do not shrink near a minimum: decay them")
    eps: float = setting(1e-8, "added to the gradient's norm", gt=0, le=1)

    tags = {"lr": "lr", "speeds": "", "schedule": ""}
    quiet_tags = frozenset({"speeds", "schedule"})

    @field_validator("speeds")
    @classmethod
    def _not_negative(cls, speeds: dict[str, float]) -> dict[str, float]:
        for layer, speed in speeds.items():
            if speed < 0:
                raise ValueError(f"{layer}: {speed:g} is negative; a speed is 0 or more")
        return speeds


def build(settings: SLO, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer."""
    from nfa.optim.speed_limited import SpeedLimited

    return SpeedLimited(model.named_parameters(), lr=settings.lr, speeds=settings.speeds, eps=settings.eps)


def first_update(settings: SLO, gradient: torch.Tensor) -> torch.Tensor:
    """Return minus the gradient: normalising it and a layer's speed keep its direction."""
    return -gradient


def canonical(settings: SLO, layer_names: Sequence[str]) -> dict[str, Any]:
    """Spell out every layer's speed, so that two ways to write the same speeds are the same cell.

    Raises:
        ValueError: A speed for a layer that is not there.
    """
    return non_default(settings) | {"speeds": resolve_speeds(settings.speeds, layer_names)}


ENTRY = OptimizerEntry(
    SLO,
    build,
    first_update,
    lambda settings: 0.0,
    about="Speed Limited Optimization: a speed per layer",
    canonical=canonical,
)
