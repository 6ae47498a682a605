"""What an optimizer entry promises before torch is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nfa.settings import Settings, non_default, setting

if TYPE_CHECKING:
    import torch

ScheduleName = Literal["constant", "linear", "cosine"]


class OptimizerSettings(Settings):
    """What every optimizer has."""

    lr: float = setting(0.1, "learning rate at the start", gt=0, le=1e6)
    schedule: ScheduleName = setting("constant", "learning rate over training: constant, linear or cosine decay to 0")

    tags = {"lr": "lr"}


def _plain(settings: OptimizerSettings, layer_names: Sequence[str]) -> dict[str, Any]:
    """Identify an optimizer without per-layer settings: what differs from its defaults."""
    return non_default(settings)


@dataclass(frozen=True)
class OptimizerEntry:
    """One line of the optimizer registry.

    Attributes:
        settings: The entry's settings class.
        build: (settings, network) -> the torch optimizer. Imports torch inside.
        first_update: (settings, gradient) -> direction of the first full-batch step from W0, up to a positive factor.
        weight_decay: Settings -> lambda of a *coupled* decay (torch's ``weight_decay``), 0 where there is none.
        about: One line for ``nfa init`` and the documentation.
        canonical: (settings, layer names) -> what identifies the entry, the same for two ways to say the same; raises
            ValueError where a setting names a layer that is not there.
    """

    settings: type[OptimizerSettings]
    build: Callable[[Any, torch.nn.Module], torch.optim.Optimizer]
    first_update: Callable[[Any, torch.Tensor], torch.Tensor]
    weight_decay: Callable[[Any], float]
    about: str
    canonical: Callable[[Any, Sequence[str]], dict[str, Any]] = _plain
