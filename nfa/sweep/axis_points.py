"""Points of an axis, and the registry that each axis takes its entries from.

An axis of a sweep file is a list of entries, and an entry with lists inside is a grid. A point is one entry with one
value for each setting. A large sweep has few points and many cells, so everything that depends on a point alone is
computed once, on the point, and shared by its cells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

from nfa.data import DATA, DataEntry, DataShape
from nfa.entries import Settings, non_default
from nfa.models import MODELS, LayerShape, ModelEntry
from nfa.optim import OPTIMIZERS
from nfa.sweep.search import Search

REGISTRIES: dict[str, Mapping[str, Any]] = {"data": DATA, "model": MODELS, "optimizer": OPTIMIZERS}
NAMED_AXES = tuple(REGISTRIES)  # axes whose entries have a name
AXES = (*NAMED_AXES, "train")


S = TypeVar("S", bound=Settings)
E = TypeVar("E")


@dataclass(frozen=True, eq=False)
class AxisPoint(Generic[S, E]):
    """One point of an axis.

    Attributes:
        axis: One of ``AXES``.
        settings: The checked settings. A setting that is tuned has the value that was found or, before that, some value
            of its range.
        entry: The line of the axis's registry; None on the axis ``train``.
        where: The place in the sweep file, for messages, e.g. ``my.yaml: model[0]``.
        only: Other axis -> names of its entries that this point is combined with (``for`` in the sweep file).
        searches: The settings that are tuned: setting -> the values among which one is searched for.
        found: The values that were found for them; empty until then. They are no part of what identifies the point.
    """

    axis: str
    settings: S
    entry: E
    where: str
    only: Mapping[str, list[str]] = field(default_factory=dict)
    searches: Mapping[str, Search] = field(default_factory=dict)
    found: Mapping[str, float] = field(default_factory=dict)

    def with_found(self, values: Mapping[str, float]) -> AxisPoint[S, E]:
        """Return the point with values of the settings that are tuned."""
        return replace(self, settings=self.settings.model_copy(update=dict(values)), found=dict(values))

    @cached_property
    def name(self) -> str:
        """Name of the entry; empty on the axis ``train``."""
        return str(getattr(self.settings, "name", ""))

    @cached_property
    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults; of a setting that is tuned its search."""
        return non_default(self.settings) | self._searched

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Every setting, defaults included; of a setting that is tuned its search."""
        return self.settings.model_dump(mode="json") | self._searched

    @cached_property
    def values(self) -> dict[str, Any]:
        """Every setting with the value that a network is trained with; null where it is tuned and not found yet."""
        unknown = dict.fromkeys(self.searches) if not self.found else {}
        return self.settings.model_dump(mode="json") | unknown

    @cached_property
    def _searched(self) -> dict[str, Any]:
        return {key: search.content for key, search in self.searches.items()}

    @cached_property
    def flat(self) -> dict[str, Any]:
        """The parameters as ``axis.setting``; those that are themselves mappings as JSON text."""
        return _flat(self.axis, self.parameters)

    @cached_property
    def flat_values(self) -> dict[str, Any]:
        """The values as ``axis.setting``; those that are themselves mappings as JSON text."""
        return _flat(self.axis, self.values)

    @cached_property
    def readable(self) -> str:
        """The point's part of a cell's id: the name and the tagged settings, e.g. ``mlp-d4-w256``."""
        parts = [self.name]
        for setting, tag in self.settings.tags.items():
            if setting in self.changed or setting not in self.settings.quiet_tags:
                tuned = setting in self.searches
                parts.append(tag + ("tuned" if tuned else _readable_value(getattr(self.settings, setting))))
        return re.sub(r"[^A-Za-z0-9_+.-]", "_", "-".join(parts))


class DataPoint(AxisPoint[Settings, DataEntry]):
    """One point of the axis ``data``."""

    @cached_property
    def shape(self) -> DataShape:
        """Shape of the data, without loading them."""
        return self.entry.shape(self.settings)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What identifies the data besides their settings, e.g. a file's digest."""
        return self.entry.identity(self.settings)


def _flat(axis: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{axis}.{key}": json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
        for key, value in content.items()
    }


def _readable_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "-".join(f"{key}{item:g}" for key, item in sorted(value.items()))
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, eq=False)
class Network:
    """A model on a data set, described without building or loading it, and shared by all cells that train it."""

    data: DataPoint
    model: AxisPoint[Settings, ModelEntry]
    _contents: dict[AxisPoint[Any, Any], dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def layers(self) -> tuple[LayerShape, ...]:
        """The weight matrices in forward order."""
        return self.model.entry.layers(self.model.settings, self.data.shape)

    def content(self, point: AxisPoint[Any, Any]) -> dict[str, Any]:
        """Return what identifies a point of any axis in a cell of this network.

        That is its name and the settings that differ from their defaults, with speeds by layer, the learning rate that
        results from ``lr_times``, and the length of the training in steps, so that two ways to write the same cell give
        the same content.

        Raises:
            ValueError: An optimizer's setting names a layer that the network does not have; the message begins with
                the setting.
        """
        if point not in self._contents:
            self._contents[point] = ({"name": point.name} if point.name else {}) | self._settings(point)
        return self._contents[point]

    def _settings(self, point: AxisPoint[Any, Any]) -> dict[str, Any]:
        if point is self.data:
            return point.changed | self.data.identity
        if point.axis == "optimizer":
            settings = point.settings.for_classes(self.data.shape.classes)
            canonical: dict[str, Any] = point.entry.canonical(settings, [layer.name for layer in self.layers])
            return canonical | {key: search.content for key, search in point.searches.items()}
        if point.axis == "train":
            train, n_train = point.settings, self.data.shape.n_train
            kept = {key: value for key, value in point.changed.items() if key not in ("steps", "epochs", "batch_size")}
            return kept | {"steps": train.total_steps(n_train), "batch": train.batch(n_train)}
        return point.changed
