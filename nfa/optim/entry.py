"""The interface of an entry of the optimizer axis. Imports no torch until an optimizer is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from nfa.entries import Settings, non_default, setting
from nfa.optim.schedule import ScheduleName, schedule_factor

if TYPE_CHECKING:
    import torch
    from torch import Tensor

COMMON_TAGS = {"schedule": "", "warmup": "warm", "clip": "clip"}


class WarmStart(Settings):
    """A phase at the start of training with a constant learning rate of its own."""

    epochs: int = setting(1, "length in passes over the training set", ge=1, le=10**6)
    lr: float = setting(..., "learning rate", gt=0, le=1e6)


class OptimizerSettings(Settings):
    """Settings that every optimizer has."""

    lr: float = setting(0.1, "learning rate at the start", gt=0, le=1e6)
    lr_times: Literal["classes/10"] | None = setting(
        None, "factor on lr in a sweep file: classes/10 is the number of classes divided by 10"
    )
    schedule: ScheduleName = setting("constant", "learning rate over training: constant, linear or cosine decay to 0")
    warmup: float = setting(
        0.0, "share of the steps, at the start, in which the learning rate grows linearly", ge=0, le=1
    )
    warm_start: WarmStart | None = setting(
        None, "an early phase at a constant learning rate, before the schedule: {epochs: 1, lr: 1e-4}"
    )
    clip: float | None = setting(
        None, "largest norm of the gradient of all parameters; longer gradients are scaled down", gt=0, le=1e6
    )

    tags = {"lr": "lr"}

    @model_validator(mode="after")
    def _one_warm_up(self) -> OptimizerSettings:
        if self.warm_start is not None and self.warmup:
            raise ValueError(f"warm_start: warmup: {self.warmup:g} is given too; keep one of them")
        return self

    def for_classes(self, classes: int | None) -> Self:
        """Return the settings with ``lr_times`` multiplied out.

        Args:
            classes: Number of classes of the data; None for a regression.

        Raises:
            ValueError: There are no classes.

        Example:
            >>> OptimizerSettings(lr=0.1, lr_times="classes/10").for_classes(100).lr
            1.0
        """
        if self.lr_times is None:
            return self
        if classes is None:
            raise ValueError(f"lr_times: {self.lr_times} needs classes, and a regression has none; leave it out")
        return self.model_copy(update={"lr": self.lr * classes / 10, "lr_times": None})

    def lr_at(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """Return the learning rate of the step from ``step`` to ``step + 1``, of ``steps`` in all.

        Example:
            >>> settings = OptimizerSettings(lr=0.4, schedule="linear", warm_start=WarmStart(epochs=2, lr=0.01))
            >>> [settings.lr_at(step, 6, steps_per_epoch=1) for step in range(6)]
            [0.01, 0.01, 0.4, 0.30000000000000004, 0.2, 0.1]
        """
        early = 0 if self.warm_start is None else self.warm_start.epochs * steps_per_epoch
        if self.warm_start is not None and step < early:
            return self.warm_start.lr
        return self.lr * schedule_factor(self.schedule, step - early, steps - early, self.warmup)


@dataclass(frozen=True)
class Parameters:
    """The parameters that an optimizer is made for.

    Attributes:
        named: (name, tensor), in order of registration.
        stacked: Axis 0 of every tensor indexes independent networks (seeds); norms and orthogonal factors are computed
            for each network alone.
        layers: Names of the layers in forward order, for settings by layer; None to derive them from the names.
        lr_factors: Parameter name -> factor on its learning rate, for entrywise steps; 1 for a parameter not named.
    """

    named: Sequence[tuple[str, Tensor]]
    stacked: bool = False
    layers: Sequence[str] | None = None
    lr_factors: Mapping[str, float] = field(default_factory=dict)

    @property
    def tensors(self) -> list[Tensor]:
        """Tensors without their names."""
        return [tensor for _, tensor in self.named]

    def groups(self, lr: float, decoupled_decay: float | None = None) -> list[dict[str, Any]]:
        """Return parameter groups for a torch optimizer of entrywise steps, one for each factor on the learning rate.

        Args:
            lr: The learning rate. A group multiplies it by its factor, which it stores as ``lr_factor``.
            decoupled_decay: lambda of a decay that the optimizer multiplies by a group's lr. It is divided by the
                factor, so that W shrinks by lr lambda W with the lr of the settings.
        """
        by_factor: dict[float, list[Tensor]] = {}
        for name, tensor in self.named:
            by_factor.setdefault(self.lr_factors.get(name, 1.0), []).append(tensor)
        groups: list[dict[str, Any]] = []
        for factor, tensors in by_factor.items():
            groups.append({"params": tensors, "lr": lr * factor, "lr_factor": factor})
            if decoupled_decay is not None:
                groups[-1]["weight_decay"] = decoupled_decay / factor
        return groups


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the coming step, multiplied by the factor of each group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)


def _settings_that_differ(settings: OptimizerSettings, layer_names: Sequence[str]) -> dict[str, Any]:
    """Identify an optimizer without settings by layer: return the settings that differ from their defaults."""
    return non_default(settings)


def _no_decay(settings: OptimizerSettings) -> float:
    """Return the weight decay of an optimizer that has none."""
    return 0.0


@dataclass(frozen=True)
class OptimizerEntry:
    """One line of the optimizer registry.

    Attributes:
        settings: Settings class of the entry.
        make: (settings, parameters) -> the torch optimizer, whose state must consist of tensors. It imports torch
            itself. The ``lr`` of every group is set before every step, to the scheduled ``settings.lr`` times the
            group's ``lr_factor``.
        about: One line for ``nfa init`` and the documentation.
        weight_decay: Settings -> lambda of a *coupled* decay (torch's ``weight_decay``), 0 where there is none.
        decoupled_decay: Settings -> lambda of a *decoupled* decay, W shrinks by lr lambda W; 0 where there is none.
        canonical: (settings, layer names) -> content that identifies the entry, equal for two ways to write the same
            optimizer; raises ValueError where a setting names a layer that does not exist.
    """

    settings: type[OptimizerSettings]
    make: Callable[[Any, Parameters], torch.optim.Optimizer]
    about: str
    weight_decay: Callable[[Any], float] = _no_decay
    decoupled_decay: Callable[[Any], float] = _no_decay
    canonical: Callable[[Any, Sequence[str]], dict[str, Any]] = _settings_that_differ

    def build(
        self,
        settings: OptimizerSettings,
        model: torch.nn.Module | Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
        *,
        stacked: bool = False,
        layers: Sequence[str] | None = None,
        lr_factors: Mapping[str, float] | None = None,
    ) -> torch.optim.Optimizer:
        """Make the optimizer for a network, or for named parameters.

        Args:
            settings: Settings of this entry.
            model: The network, or its parameters by name.
            stacked: Axis 0 of every tensor indexes independent networks (seeds), each trained as if it were alone.
            layers: Names of the layers in forward order, for speeds that are given by index.
            lr_factors: Parameter name -> factor on its learning rate in entrywise steps (maximal update
                parametrisation); optimizers with other steps ignore it.

        Returns:
            The optimizer. It neither schedules nor clips: see ``set_learning_rate``, ``schedule_factor`` and ``clip_``.
        """
        named: Iterable[tuple[str, Tensor]]
        if isinstance(model, Mapping):
            named = model.items()
        elif hasattr(model, "named_parameters"):
            named = model.named_parameters()
        else:
            named = model
        return self.make(settings, Parameters(list(named), stacked, layers, lr_factors or {}))
