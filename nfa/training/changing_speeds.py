"""Speeds of SLO that change during a run, by a schedule or by a rule that follows the measured UC-NFC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from nfa.alignment import correlations, measure_covariances
from nfa.optim.adapt import adapted_speeds
from nfa.optim.algorithms.speed_limited import SpeedLimited
from nfa.optim.slo import SLOSettings
from nfa.sweep.cells import Cell

SAMPLES = 256  # samples that the rule measures on; one measurement costs about ten steps (docs/slo.md)


class ChangingSpeeds:
    """The speeds of one run.

    Attributes:
        now: Layer name -> speed, in forward order.
        following: True if the speeds follow the measured UC-NFC. Each run then has speeds of its own and is trained
            alone.
    """

    def __init__(self, settings: SLOSettings, layers: tuple[str, ...], total: int) -> None:
        """Start with the speeds of step 0, of ``total`` steps."""
        self._settings = settings
        self._phases = {round(share * total): speeds for share, speeds in settings.phases(layers).items()}
        self.now = self._phases[0]
        self.following = settings.adapt is not None

    @classmethod
    def of(cls, cell: Cell, total: int) -> ChangingSpeeds | None:
        """Make the speeds of a cell; None if no speed changes during training."""
        settings = cell.optimizer
        if not isinstance(settings, SLOSettings) or (settings.adapt is None and not settings.later):
            return None
        return cls(settings, tuple(layer.name for layer in cell.layers), total)

    def set_for(self, step: int, optimizer: torch.optim.Optimizer, model: nn.Module, samples: Tensor) -> None:
        """Set the speeds of the step from ``step`` on.

        Args:
            step: Number of steps taken.
            optimizer: An SLO optimizer of this model.
            model: The network; it is left unchanged.
            samples: (n, *input_shape), the samples to measure on.
        """
        adapt, rate, bound = self._settings.adapt, self._settings.adapt_rate, self._settings.adapt_bound
        if adapt is None:
            self.now = self._phases[max(first for first in self._phases if first <= step)]
        elif step and step % adapt == 0:
            base = self._phases[0]
            self.now = adapted_speeds(self.now, hidden_nfc(model, samples), base=base, rate=rate, bound=bound)
        limited = cast(SpeedLimited, optimizer)
        if limited.speeds != self.now:
            limited.set_speeds(self.now)

    def restore(self, now: Mapping[str, float]) -> None:
        """Load saved speeds."""
        self.now = dict(now)


def hidden_nfc(model: nn.Module, samples: Tensor) -> dict[str, float]:
    """Measure UC-NFC (cosine, power 1) of all layers but the readout: layer name -> value, without undefined values."""
    measured = measure_covariances(model, samples[:SAMPLES]).layers
    values = {
        name: correlations(layer.weight, layer.covariance, ["cosine"])["cosine"].value
        for name, layer in measured.items()
        if layer.depth_from_output > 0 and torch.isfinite(layer.covariance).all()
    }
    return {name: value for name, value in values.items() if math.isfinite(value)}
