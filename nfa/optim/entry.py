"""What an optimizer entry promises before torch is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nfa.entries import Settings, non_default, setting
from nfa.optim.schedule import ScheduleName

if TYPE_CHECKING:
    import torch
    from torch import Tensor

COMMON_TAGS = {"schedule": "", "warmup": "warm", "clip": "clip"}


class OptimizerSettings(Settings):
    """What every optimizer has."""

    lr: float = setting(0.1, "learning rate at the start", gt=0, le=1e6)
    schedule: ScheduleName = setting("constant", "learning rate over training: constant, linear or cosine decay to 0")
    warmup: float = setting(0.0, "share of the steps, first, in which the learning rate grows linearly", ge=0, le=1)
    clip: float | None = setting(None, "a gradient of all parameters longer than this is shortened to it", gt=0, le=1e6)

    tags = {"lr": "lr"}


@dataclass(frozen=True)
class Parameters:
    """What an optimizer is made for.

    Attributes:
        named: (name, tensor), in order of registration.
        stacked: Axis 0 of every tensor counts independent networks: norms and orthogonalisation are one for each.
        layers: Names of the layers in forward order, for settings by layer; None reads them off the names.
        lr_factors: Parameter name -> factor on its learning rate, for entrywise steps; what is not named has 1.
    """

    named: Sequence[tuple[str, Tensor]]
    stacked: bool = False
    layers: Sequence[str] | None = None
    lr_factors: Mapping[str, float] = field(default_factory=dict)

    @property
    def tensors(self) -> list[Tensor]:
        """The parameters without their names."""
        return [tensor for _, tensor in self.named]

    def groups(self, lr: float, decoupled_decay: float | None = None) -> list[dict[str, Any]]:
        """Groups for a torch optimizer of entrywise steps: one for each factor on the learning rate.

        Args:
            lr: The learning rate; a group's is multiplied by its factor, which it keeps as ``lr_factor``.
            decoupled_decay: lambda of a decay that the optimizer multiplies by a group's lr; divided by the factor, so
                that W still shrinks by lr lambda W, lr that of the settings.
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
    """Set the learning rate of the coming step, with each group's factor on it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)


def _plain(settings: OptimizerSettings, layer_names: Sequence[str]) -> dict[str, Any]:
    """Identify an optimizer without per-layer settings: what differs from its defaults."""
    return non_default(settings)


def _none(settings: OptimizerSettings) -> float:
    """Coupled decay of an optimizer without one."""
    return 0.0


@dataclass(frozen=True)
class OptimizerEntry:
    """One line of the optimizer registry.

    Attributes:
        settings: The entry's settings class.
        make: (settings, parameters) -> the torch optimizer, all its state tensors. Imports torch inside. Every group's
            ``lr`` is set before every step, to the scheduled ``settings.lr`` times the group's ``lr_factor``.
        about: One line for ``nfa init`` and the documentation.
        weight_decay: Settings -> lambda of a *coupled* decay (torch's ``weight_decay``), 0 where there is none.
        decoupled_decay: Settings -> lambda of a *decoupled* decay, W shrinks by lr lambda W; 0 where there is none.
        canonical: (settings, layer names) -> what identifies the entry, the same for two ways to say the same; raises
            ValueError where a setting names a layer that is not there.
    """

    settings: type[OptimizerSettings]
    make: Callable[[Any, Parameters], torch.optim.Optimizer]
    about: str
    weight_decay: Callable[[Any], float] = _none
    decoupled_decay: Callable[[Any], float] = _none
    canonical: Callable[[Any, Sequence[str]], dict[str, Any]] = _plain

    def build(
        self,
        settings: OptimizerSettings,
        model: torch.nn.Module | Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
        *,
        stacked: bool = False,
        layers: Sequence[str] | None = None,
        lr_factors: Mapping[str, float] | None = None,
    ) -> torch.optim.Optimizer:
        """Make the optimizer of a network, or of its named parameters.

        Args:
            settings: Settings of this entry.
            model: The network, or its parameters by name.
            stacked: Axis 0 of every tensor counts independent networks (seeds), each trained as if it were alone.
            layers: Names of the layers in forward order, where speeds are given by index.
            lr_factors: Parameter name -> factor on its learning rate in entrywise steps (maximal update); other
                optimizers need none and leave it.

        Returns:
            The optimizer; it takes steps with the ``lr`` of its groups, unclipped: see ``set_learning_rate``,
            ``schedule_factor``, ``clip_``.
        """
        named: Iterable[tuple[str, Tensor]]
        if isinstance(model, Mapping):
            named = model.items()
        elif hasattr(model, "named_parameters"):
            named = model.named_parameters()
        else:
            named = model
        return self.make(settings, Parameters(list(named), stacked, layers, lr_factors or {}))
