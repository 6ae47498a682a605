"""A cell of the grid, a parsed sweep, their ids and the hashes of their stages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nfa.data import DATA, DataEntry, DataShape
from nfa.digests import digest
from nfa.entries import Settings, entry_of, non_default
from nfa.errors import SweepError, nearest, one_line
from nfa.models import MODELS, LayerShape, ModelEntry
from nfa.optim import OPTIMIZERS, OptimizerSettings
from nfa.sweep.origin import Origin
from nfa.sweep.sections import Measure, Probe, Train, Wandb

# Raised when the meaning of a stage's results changes: their hashes change, and they are computed anew.
REVISIONS = {"train": 1, "measure": 4, "probe": 2}

STAGES = tuple(REVISIONS)  # of a cell, in their order

AXES = ("data", "model", "optimizer", "train")


def data_entry(settings: Any) -> DataEntry:
    """Find the entry of checked settings."""
    entry = entry_of(DATA, settings.name)
    assert entry is not None
    return entry


def model_entry(settings: Any) -> ModelEntry:
    """Find the entry of checked settings."""
    entry = entry_of(MODELS, settings.name)
    assert entry is not None
    return entry


@dataclass(frozen=True)
class Cell:
    """One point of the grid, without the seed."""

    data: Settings
    model: Settings
    optimizer: OptimizerSettings
    train: Train

    @cached_property
    def content(self) -> dict[str, Any]:
        """Canonical content, which the id is a hash of: two ways to say the same are the same.

        Names, and settings that differ from their defaults; speeds by layer; length in steps, whatever it was given in.
        """
        optimizer = OPTIMIZERS[self.optimizer.name]  # type: ignore[attr-defined]
        settings = {axis: non_default(getattr(self, axis)) for axis in AXES}
        settings["optimizer"] = optimizer.canonical(self.optimizer, [layer.name for layer in self.layers])
        for given in ("steps", "epochs", "batch_size"):
            settings["train"].pop(given, None)
        n_train = self.shape.n_train
        settings["train"] |= {"steps": self.train.total_steps(n_train), "batch": self.train.batch(n_train)}
        settings["data"] |= data_entry(self.data).identity(self.data)
        names = {axis: {"name": getattr(self, axis).name} for axis in AXES[:3]}
        return {axis: names.get(axis, {}) | settings[axis] for axis in AXES}

    @cached_property
    def id(self) -> str:
        """Readable name and hash, e.g. ``fashion_mini.mlp-d4-w256.slo-lr0.05.3f9c2a1b``: one path segment."""
        readable = joined_name(readable_name(getattr(self, axis)) for axis in AXES[:3])
        return f"{readable}.{digest({'train': REVISIONS['train'], 'content': self.content})[:8]}"

    @cached_property
    def shape(self) -> DataShape:
        """What the data are, without loading them."""
        return data_entry(self.data).shape(self.data)

    @cached_property
    def layers(self) -> tuple[LayerShape, ...]:
        """The network's weight matrices, without building it."""
        return model_entry(self.model).layers(self.model, self.shape)

    @property
    def follows_gradient_flow(self) -> bool:
        """Whether training follows the loss's gradient flow as the learning rate goes to 0: lr * steps is its time."""
        if self.content["optimizer"]["name"] != "sgd" or self.train.rule != "backpropagation":
            return False
        plain = {"momentum": 0.0, "weight_decay": 0.0, "clip": None}
        return all(getattr(self.optimizer, name) == value for name, value in plain.items())

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Every parameter, defaults included, by axis."""
        return {axis: getattr(self, axis).model_dump(mode="json") for axis in AXES}

    def flat_parameters(self) -> dict[str, Any]:
        """Every parameter as ``axis.setting``; settings that are themselves mappings as JSON text."""
        return {
            f"{axis}.{key}": json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
            for axis, entry in self.parameters().items()
            for key, value in entry.items()
        }


@dataclass(frozen=True)
class Sweep:
    """A parsed sweep file at one of its ``sizes``; ``document`` is what it says there, and parses to the same again.

    ``origin`` is the file, where it was read from one: from a plan it is the file that the plan was made of.
    """

    name: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    measure: Measure
    probe: Probe
    wandb: Wandb
    source: str
    document: dict[str, Any]
    sizes: tuple[str, ...] = ()
    origin: Origin | None = None

    def cell(self, cell_id: str) -> Cell:
        """Find a cell by its id.

        Raises:
            SweepError: No cell has that id.
        """
        if cell_id not in self.by_id:
            listed = f"`nfa expand {self.source}` lists the {len(self.cells):,} cells"
            raise SweepError(f"{self.source}: no cell {one_line(cell_id)}; {nearest(cell_id, self.by_id, listed)}")
        return self.by_id[cell_id]

    @cached_property
    def by_id(self) -> dict[str, Cell]:
        """The cells by id."""
        return {cell.id: cell for cell in self.cells}

    def hashes(self, cell: Cell) -> dict[str, str]:
        """Hash of what each stage of a cell depends on: its settings and what is upstream. Seeds are in none."""
        train = digest({"revision": REVISIONS["train"], "content": cell.content})
        return {
            "train": train,
            "measure": digest({"measure": REVISIONS["measure"], "of": train, "settings": non_default(self.measure)}),
            "probe": digest({"probe": REVISIONS["probe"], "of": train, "settings": non_default(self.probe)}),
        }


def joined_name(parts: Iterable[str]) -> str:
    """Join the readable part of a cell's id, cut where it is long."""
    return ".".join(parts)[:180]


def readable_name(settings: Any) -> str:
    """Name an entry by the settings its class tags, e.g. ``mlp-d4-w256``."""
    parts = [settings.name]
    changed = non_default(settings)
    for field, tag in settings.tags.items():
        if field in changed or field not in settings.quiet_tags:
            parts.append(tag + _readable_value(getattr(settings, field)))
    return re.sub(r"[^A-Za-z0-9_+.-]", "_", "-".join(parts))


def _readable_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "-".join(f"{key}{item:g}" for key, item in sorted(value.items()))
    return f"{value:g}" if isinstance(value, float) else str(value)
