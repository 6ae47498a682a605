"""A cell of the grid, a parsed sweep, their ids and the hashes of their stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from nfa.data import DataEntry, DataShape
from nfa.digests import digest
from nfa.entries import Settings, non_default
from nfa.errors import SweepError, nearest, one_line
from nfa.models import LayerShape, ModelEntry
from nfa.optim import OptimizerEntry, OptimizerSettings
from nfa.sweep.axis_points import AxisPoint, Network
from nfa.sweep.origin import Origin
from nfa.sweep.search import Search, Tune
from nfa.sweep.stage_settings import Measure, Probe, Train, Wandb

# A number is raised when the meaning of a stage's results changes: the stage's hashes change, and it is computed again.
REVISIONS = {"train": 1, "measure": 7, "probe": 2}
TUNE_REVISION = 1  # the same for the stage ``tune``, which only cells with a setting to tune have

KEPT = ("checkpoints", "spacing", "checkpoints_at_loss")  # settings of ``train`` about files, not about the training
STAGES = tuple(REVISIONS)  # the stages of a cell, in order


@dataclass(frozen=True, eq=False)
class Cell:
    """One point of the grid, without the seed: a network on its data, an optimizer and a way to train."""

    network: Network
    optimizer_point: AxisPoint[OptimizerSettings, OptimizerEntry]
    train_point: AxisPoint[Train, None]

    @property
    def points(self) -> tuple[AxisPoint[Any, Any], ...]:
        """The points of data, model, optimizer and train."""
        return self.network.data, self.network.model, self.optimizer_point, self.train_point

    def __eq__(self, other: object) -> bool:
        """Compare the settings; cells of different readings of the same sweep file are equal."""
        if not isinstance(other, Cell):
            return NotImplemented
        pairs = zip(self.points, other.points, strict=True)
        return all(mine is theirs or mine.settings == theirs.settings for mine, theirs in pairs)

    def __hash__(self) -> int:
        """Hash the readable names of the points, which are equal for equal settings."""
        return hash(tuple(point.readable for point in self.points))

    @property
    def data(self) -> Settings:
        """Settings of the data."""
        return self.network.data.settings

    @property
    def data_entry(self) -> DataEntry:
        """The data's line of the registry."""
        return self.network.data.entry

    @property
    def model(self) -> Settings:
        """Settings of the model."""
        return self.network.model.settings

    @property
    def model_entry(self) -> ModelEntry:
        """The model's line of the registry."""
        return self.network.model.entry

    @property
    def optimizer(self) -> OptimizerSettings:
        """Settings of the optimizer, with ``lr_times`` multiplied out."""
        return self.optimizer_point.settings.for_classes(self.shape.classes)

    @property
    def optimizer_entry(self) -> OptimizerEntry:
        """The optimizer's line of the registry."""
        return self.optimizer_point.entry

    @property
    def train(self) -> Train:
        """How the cell is trained."""
        return self.train_point.settings

    @property
    def content(self) -> dict[str, Any]:
        """Canonical content by axis, of which the id is a hash; cells share its parts, so it is not to be changed.

        Names, and settings that differ from their defaults: see ``Network.content``.
        """
        return {point.axis: self.network.content(point) for point in self.points}

    @property
    def readable(self) -> str:
        """The readable part of the id, cut where it is long."""
        return ".".join([self.network.data.readable, self.network.model.readable, self.optimizer_point.readable])[:180]

    @cached_property
    def id(self) -> str:
        """Readable name and hash, e.g. ``fashion_mini.mlp-d4-w256.slo-lr0.05.3f9c2a1b``: one path segment."""
        return f"{self.readable}.{digest({'train': REVISIONS['train'], 'content': self.content})[:8]}"

    @property
    def shape(self) -> DataShape:
        """Shape of the data, without loading them."""
        return self.network.data.shape

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """The network's weight matrices, without building it."""
        return self.network.layers

    @property
    def follows_gradient_flow(self) -> bool:
        """True if training follows the loss's gradient flow as the learning rate goes to 0; lr * steps is its time."""
        if self.optimizer_point.name != "sgd" or self.train.rule != "backpropagation":
            return False
        plain = {"momentum": 0.0, "weight_decay": 0.0, "clip": None}
        return all(getattr(self.optimizer, name) == value for name, value in plain.items())

    @property
    def may_have_heads(self) -> bool:
        """True if the network has attention of several heads, and also if it must be built to know."""
        attention = self.model_entry.attention
        return attention is None or (attention and self.model.heads > 1)  # type: ignore[attr-defined]

    @property
    def searches(self) -> Mapping[str, Search]:
        """The optimizer's settings that are tuned."""
        return self.optimizer_point.searches

    @property
    def found(self) -> Mapping[str, float]:
        """The values that were found for them; empty until then."""
        return self.optimizer_point.found

    def with_found(self, values: Mapping[str, float]) -> Cell:
        """Return the cell, of the same id, with values of the settings that are tuned."""
        return replace(self, optimizer_point=self.optimizer_point.with_found(values))

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Return every parameter, defaults included, by axis; cells share the parts, so they are not to be changed.

        A setting that is tuned has its search here, and the value that was found in ``values``.
        """
        return {point.axis: point.parameters for point in self.points}

    def values(self) -> dict[str, dict[str, Any]]:
        """Return every parameter with its value, by axis; null where it is tuned and not found yet."""
        return {point.axis: point.values for point in self.points}

    def flat_values(self) -> dict[str, Any]:
        """Return every value as ``axis.setting``; settings that are themselves mappings as JSON text."""
        return {name: value for point in self.points for name, value in point.flat_values.items()}


@dataclass(frozen=True)
class Sweep:
    """A parsed sweep file at one of its ``sizes``.

    Attributes:
        name: The sweep's name, and that of its folder in the results.
        seeds: Seeds of every cell.
        cells: The combinations of the four axes, in the order of the file.
        measure: How alignment is measured.
        probe: How features are probed.
        wandb: Where runs are published.
        source: The file, for messages.
        document: The content of the file at this size; parsing it gives the same sweep again.
        sizes: Names of the sizes that the file has.
        origin: The sweep file as it was read; of a plan, the sweep file that the plan was made from.
        tune: How settings are tuned.
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
    tune: Tune = field(default_factory=Tune)

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

    @cached_property
    def swept(self) -> dict[str, list[Any]]:
        """The settings that take more than one value among the cells: ``axis.setting`` -> its values.

        The settings are in the order of the axes, and within an axis, like the values, in the order in which they
        appear. Null is a value where an entry has the setting; an entry without the setting adds no value.
        """
        values: dict[str, dict[Any, None]] = {}
        for axis in zip(*(cell.points for cell in self.cells), strict=True):
            for point in dict.fromkeys(axis):
                for name, value in point.flat.items():
                    values.setdefault(name, {})[str(value) if isinstance(value, list) else value] = None
        return {name: list(found) for name, found in values.items() if len(found) > 1}

    def hashes(self, cell: Cell) -> dict[str, str]:
        """Hash what each stage of a cell depends on: its settings and the stages before it. Seeds are in no hash."""
        tuned = {"tune": self.tune_hash(cell)} if cell.searches else {}
        train = digest({"revision": REVISIONS["train"], "content": cell.content} | tuned)
        settings = self._settings_of_stages
        return {
            "train": train,
            **{
                stage: digest({stage: REVISIONS[stage], "of": train, "settings": settings[stage]})
                for stage in ("measure", "probe")
            },
        }

    def tune_hash(self, cell: Cell) -> str:
        """Hash what the search for a cell's tuned settings depends on; cells of several sweeps may share it."""
        content = {**cell.content, "train": {k: v for k, v in cell.content["train"].items() if k not in KEPT}}
        return digest({"tune": TUNE_REVISION, "content": content, "settings": self.tune.model_dump(mode="json")})

    @cached_property
    def _settings_of_stages(self) -> dict[str, dict[str, Any]]:
        return {"measure": non_default(self.measure), "probe": non_default(self.probe)}
