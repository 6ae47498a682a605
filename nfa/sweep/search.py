"""Settings whose value is searched for before a cell is trained: ``lr: {tune: [1e-4, 1]}``. Imports no torch.

    optimizer: [{name: sgd, lr: {tune: [1e-3, 10]}, momentum: {tune: [0, 0.95], scale: linear}}]
    optimizer: [{name: adam, lr: {values: [0.001, 0.003, 0.01]}}]
    tune: {seeds: 2, points: 9, validation: 0.2}

The stage ``tune`` (nfa/stages/tune.py) finds the value with the lowest loss on validation samples. The section ``tune``
of the sweep file says how much it may try; it is one for all cells, so that every optimizer gets the same budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isfinite, log10, sqrt
from typing import Any, Literal, get_args

from nfa.entries import Settings, setting
from nfa.errors import SweepError, nearest, one_line

KEYS = ("tune", "scale", "values")  # of the mapping that stands in the place of a value


class Tune(Settings):
    """How the stage ``tune`` searches: the section ``tune`` of a sweep file."""

    points: int = setting(9, "values that are tried at first, evenly spaced over the range on its scale", ge=2, le=100)
    seeds: int = setting(2, "seeds of each trial, none of which is a seed of the sweep", ge=1, le=100)
    validation: float = setting(
        0.2, "share of the training samples that trials do not train on, and are compared on", ge=0.01, le=0.5
    )
    start: float = setting(
        0.25,
        "share of the steps after which the better half of the trials goes on; again when that share has doubled; "
        "1: every trial is trained to its end",
        ge=0.01,
        le=1,
    )

    @property
    def shares(self) -> list[float]:
        """The shares of all steps after which trials are compared; the last is 1."""
        shares = [self.start]
        while shares[-1] < 1:
            shares.append(min(1.0, 2 * shares[-1]))
        return shares

    def trainings(self, points: int, settings: int) -> float:
        """Return how many whole trainings a search takes for each seed, the refinement included.

        Args:
            points: Number of first trials.
            settings: Number of settings that are refined.
        """
        done, total, trials = 0.0, 0.0, points
        for share in self.shares:
            total += trials * (share - done)
            done, trials = share, (trials + 1) // 2
        return total + 2 * settings


@dataclass(frozen=True)
class Search:
    """The values among which one setting is tuned.

    Attributes:
        low: Smallest value.
        high: Largest value.
        scale: Spacing of the values between them: ``log`` or ``linear``.
        values: The values themselves, ascending, where the sweep file lists them; they are not refined.
    """

    low: float
    high: float
    scale: Literal["log", "linear"] = "log"
    values: tuple[float, ...] = ()

    @cached_property
    def content(self) -> dict[str, Any]:
        """The search as the sweep file writes it, in one way only; part of a cell's id."""
        if self.values:
            return {"values": list(self.values)}
        return {"tune": [self.low, self.high], "scale": self.scale}

    def grid(self, points: int) -> tuple[float, ...]:
        """Return the values that are tried first, ascending, with three significant digits between the ends."""
        if self.values:
            return self.values
        inner = (self._at(i / (points - 1)) for i in range(1, points - 1))
        return tuple(sorted({self.low, *map(_rounded, inner), self.high}))

    def between(self, one: float, other: float) -> float:
        """Return the value halfway between two on the scale, with three significant digits."""
        return _rounded(sqrt(one * other) if self.scale == "log" else (one + other) / 2)

    def _at(self, share: float) -> float:
        if self.scale == "linear":
            return self.low + share * (self.high - self.low)
        return float(self.low * (self.high / self.low) ** share)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def is_search(value: Any) -> bool:
    """Tell whether what stands in the place of a setting's value is a search."""
    return isinstance(value, Mapping) and ("tune" in value or "values" in value)


def read_search(content: Mapping[Any, Any], kind: type[Settings], key: str, where: str) -> Search:
    """Check a search of a sweep file.

    Args:
        content: The mapping in the place of the value.
        kind: Settings class of the entry.
        key: Name of the setting.
        where: The entry, for messages.

    Raises:
        SweepError: The setting is no number, or the range is none: one line.
    """
    here = f"{where}.{key}"
    for name in content:
        if name not in KEYS:
            raise SweepError(f"{here}: {one_line(name)}: no such key of a search; {nearest(name, KEYS)}")
    field = kind.model_fields.get(key)
    if field is not None and float not in (field.annotation, *get_args(field.annotation)):
        raise SweepError(f"{here}: only a setting that is a number can be tuned; give a value, or a list of values")
    if "values" in content:
        if set(content) != {"values"}:
            raise SweepError(f"{here}: values are listed, so tune and scale have no meaning; leave them out")
        values = _numbers(content["values"], f"{here}.values", 2)
        return Search(values[0], values[-1], values=tuple(values))
    low, high = _numbers(content["tune"], f"{here}.tune", 2, 2)
    scale = content.get("scale", "log")
    if scale not in ("log", "linear"):
        raise SweepError(f"{here}.scale: {one_line(scale)}: {nearest(scale, ('log', 'linear'))}")
    if scale == "log" and low <= 0:
        raise SweepError(f"{here}.tune: {low:g} has no logarithm; begin above 0, or use scale: linear")
    if scale == "log" and log10(high / low) < 0.05:
        raise SweepError(f"{here}.tune: [{low:g}, {high:g}] is too narrow to search; give a wider range, or one value")
    return Search(low, high, scale)


def _numbers(content: Any, where: str, least: int, most: int = 100) -> list[float]:
    """Check a list of different finite numbers in ascending order."""
    example = "two numbers, as [0.001, 1]" if most == 2 else f"a list of {least} to {most} different numbers"
    wrong = SweepError(f"{where}: {one_line(content)} must be {example}, in ascending order")
    if not isinstance(content, list) or not least <= len(content) <= most:
        raise wrong
    if any(type(value) not in (int, float) or not isfinite(value) for value in content):
        raise wrong
    numbers = [float(value) for value in content]
    if any(one >= other for one, other in pairwise(numbers)):
        raise wrong
    return numbers
