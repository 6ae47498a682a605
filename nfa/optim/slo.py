"""Settings of Speed Limited Optimization (SLO). The optimizer is in ``nfa/optim/algorithms/speed_limited.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from nfa.entries import non_default, setting
from nfa.errors import cut
from nfa.optim.entry import COMMON_TAGS, OptimizerEntry, OptimizerSettings, Parameters
from nfa.optim.layer_speeds import resolve_speeds
from nfa.optim.schedule import ScheduleName

if TYPE_CHECKING:
    import torch

# The betas that have an effect with each direction.
_BETAS: dict[str, set[str]] = {"sgd": set(), "momentum": {"beta1"}, "adam": {"beta1", "beta2"}}
_ADAPTING = ("adapt_rate", "adapt_bound")


class SLOSettings(OptimizerSettings):
    """Settings of ``slo``."""

    name: Literal["slo"] = "slo"
    lr: float = setting(0.1, "length of the step of a layer with speed 1, at the start", gt=0, le=1e6)
    speeds: dict[str, float] = Field(
        default_factory=lambda: {"others": 1.0},
        description="speed of each layer, by `first`, `last`, its index, its name, a pattern of names, or `others`",
    )
    later: dict[str, dict[str, float]] = setting(
        {}, "speeds that hold later: share of the steps -> speeds from then on, e.g. {0.5: {last: 1, others: 0.1}}"
    )
    adapt: int | None = setting(
        None,
        "steps between measurements of every layer's UC-NFC, after which layers that lag get faster; none: never",
        ge=1,
        le=10**9,
    )
    adapt_rate: float = setting(1.0, "adapt: change of a speed's logarithm for a lag of 1", gt=0, le=100)
    adapt_bound: float = setting(10.0, "adapt: a speed stays within this factor of `speeds`", ge=1, le=1e6)
    on: Literal["sgd", "momentum", "adam"] = setting(
        "sgd", "direction that is normalised: the gradient, its momentum, or Adam's direction"
    )
    schedule: ScheduleName = setting(
        "linear",
        "learning rate over training; it should decay, because steps of fixed length do not shrink near a minimum",
    )
    eps: float = setting(1e-8, "added to the norm of the direction", gt=0, le=1)
    beta1: float = setting(0.9, "on momentum or adam: decay of the mean of gradients", ge=0, lt=1)
    beta2: float = setting(0.999, "on adam: decay of the mean of squared gradients", ge=0, lt=1)

    tags = {"lr": "lr", "speeds": "", "adapt": "adapt", "on": "on"} | COMMON_TAGS
    quiet_tags = frozenset({"speeds", "adapt", "on", *COMMON_TAGS})

    @field_validator("speeds")
    @classmethod
    def _not_negative(cls, speeds: dict[str, float]) -> dict[str, float]:
        for layer, speed in speeds.items():
            if speed < 0:
                raise ValueError(f"{cut(layer)}: {speed:g} is negative; a speed is 0 or more")
        return speeds

    @field_validator("later")
    @classmethod
    def _shares_of_the_steps(cls, later: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for share, speeds in later.items():
            if not 0 < _number(share) < 1:
                raise ValueError(f"{cut(share)}: must be a share of the steps; use a number between 0 and 1, e.g. 0.5")
            for layer, speed in speeds.items():
                if speed < 0:
                    raise ValueError(f"{cut(share)}.{cut(layer)}: {speed:g} is negative; a speed is 0 or more")
        if len({_number(share) for share in later}) < len(later):
            raise ValueError(f"{', '.join(later)}: a share is given twice; give each once")
        return later

    @model_validator(mode="after")
    def _one_rule(self) -> SLOSettings:
        if self.later and self.adapt is not None:
            raise ValueError("later and adapt are both given; speeds follow one of them")
        for name in _ADAPTING:
            if self.adapt is None and getattr(self, name) != SLOSettings.model_fields[name].default:
                raise ValueError(f"{name}: only used with adapt, the steps between measurements")
        return self

    def phases(self, layer_names: Sequence[str]) -> dict[float, dict[str, float]]:
        """Return the speeds of all layers over training: share of the steps from which they hold -> layer -> speed.

        Raises:
            ValueError: A speed for a layer that is not there; the message begins with the setting.
        """
        phases = {0.0: _resolved("speeds", self.speeds, layer_names)}
        for share in sorted(self.later, key=_number):
            phases[_number(share)] = _resolved(f"later.{share}", self.later[share], layer_names)
        return phases


def _number(share: str) -> float:
    """Convert a share of the steps to a number; NaN where it is not one."""
    try:
        return float(share)
    except ValueError:
        return float("nan")


def build(settings: SLOSettings, parameters: Parameters) -> torch.optim.Optimizer:
    """Make the optimizer."""
    from nfa.optim.algorithms.speed_limited import SpeedLimited

    return SpeedLimited(
        parameters.named,
        lr=settings.lr,
        speeds=settings.speeds,
        eps=settings.eps,
        direction="gradient" if settings.on == "sgd" else settings.on,
        betas=(settings.beta1, settings.beta2),
        stacked=parameters.stacked,
        layers=parameters.layers,
    )


def canonical(settings: SLOSettings, layer_names: Sequence[str]) -> dict[str, Any]:
    """Identify the entry by every layer's speed and by the settings that have an effect.

    Two ways to write the same speeds are then the same cell.

    Raises:
        ValueError: A speed for a layer that is not there; the message begins with the setting.
    """
    unused = {"beta1", "beta2"} - _BETAS[settings.on]
    identity = {key: value for key, value in non_default(settings).items() if key not in unused}
    phases = settings.phases(layer_names)
    identity["speeds"] = phases.pop(0.0)
    if phases:
        identity["later"] = {f"{share:g}": speeds for share, speeds in phases.items()}
    return identity


def _resolved(where: str, speeds: Mapping[str, float], layer_names: Sequence[str]) -> dict[str, float]:
    try:
        return resolve_speeds(speeds, layer_names)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None


ENTRY = OptimizerEntry(SLOSettings, build, about="Speed Limited Optimization: a speed per layer", canonical=canonical)
