"""The sweep file: what it may say, and the cells it means. Imports no torch: a sweep is planned in a blink.

    sweep = load("config/config.yaml")
    for cell in sweep.cells:
        print(cell.id, cell.parameters())

An axis is a list of entries; a list inside an entry is a grid; ``for`` keeps an entry to some values of another axis.
A cell is one point of the grid, without the seed. Its id ends in a hash of its canonical content: the settings that
differ from their defaults, speeds by layer, length in steps. So a new value in a grid, a reordered key or a new setting
of a later version changes no id. For the same reason a default is never changed without raising the stage's number in
``REVISIONS``.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, model_validator

from nfa.data import DATA, DataEntry, DataShape
from nfa.errors import SweepError, UserError, cut, nearest, one_line
from nfa.models import MODELS, LayerShape, ModelEntry
from nfa.optim import OPTIMIZERS, OptimizerSettings
from nfa.origin import PLAN, Origin, read_plan
from nfa.registry import entry_of
from nfa.sealing import digest as digest
from nfa.settings import Settings, non_default, setting
from nfa.sizes import at_size
from nfa.validation import explain, plain_numbers
from nfa.yaml_text import check_size, read_yaml

# Raised when the meaning of a stage's results changes: their hashes change, and they are computed anew.
REVISIONS = {"train": 1, "measure": 4, "probe": 2}
STAGES = tuple(REVISIONS)  # of a cell, in their order
# Learning rules that give each layer an error of its own.
LAYERWISE = frozenset({"direct_feedback_alignment", "hebb"})
MAX_CELLS = 200_000
MAX_SEEDS = 10_000
SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


class Train(Settings):
    """How a cell is trained: the fourth axis."""

    steps: int | None = setting(None, "optimizer steps; 1000 if neither steps nor epochs is given", ge=1, le=10**9)
    epochs: int | None = setting(None, "passes over the training set, in place of steps", ge=1, le=10**6)
    batch_size: int | Literal["full"] = setting(128, "samples per step, or `full` for the whole training set")
    loss: Literal["mse", "cross_entropy", "logistic"] = setting(
        "mse", "mse: mean over samples and outputs, without a half; logistic: each output against the target's sign"
    )
    decoupling: float = setting(0.0, "spectral decoupling: the loss plus half of this times mean f^2", ge=0, le=1e6)
    rule: Literal["backpropagation", "feedback_alignment", "direct_feedback_alignment", "hebb"] = setting(
        "backpropagation", "what stands in for the gradient; the last two need a chain of layers"
    )
    rho: float = setting(0.0, "feedback_alignment: cosine between feedback and initial weights", ge=0, le=1)
    checkpoints: int = setting(8, "checkpoints after step 0; the last step is one", ge=1, le=1000)
    spacing: Literal["log", "linear"] = setting("log", "how checkpoints are spaced in steps: log, or linear")

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs are both given; keep one of them")
        if self.batch_size != "full" and self.batch_size < 1:
            raise ValueError(f"batch_size: {self.batch_size} is too small; use 1 or more, or full")
        if self.rho and self.rule != "feedback_alignment":
            raise ValueError(f"rho: {self.rho:g} is for feedback_alignment; leave it out with {self.rule}")
        return self

    def batch(self, n_train: int) -> int:
        """Samples per step for a training set of n_train."""
        return n_train if self.batch_size == "full" else min(self.batch_size, n_train)

    def total_steps(self, n_train: int) -> int:
        """Optimizer steps of a run; an epoch's last batch may be a smaller one."""
        if self.epochs is not None:
            return self.epochs * math.ceil(n_train / self.batch(n_train))
        return 1000 if self.steps is None else self.steps

    def checkpoint_steps(self, n_train: int) -> list[int]:
        """Steps at which weights are kept: 0, the last, and those of the schedule between."""
        total = self.total_steps(n_train)
        if self.spacing == "linear":
            return sorted({round(total * i / self.checkpoints) for i in range(self.checkpoints + 1)})
        spaced = (total ** (i / max(self.checkpoints - 1, 1)) for i in range(self.checkpoints))
        return sorted({0, total} | {min(round(step), total) for step in spaced if self.checkpoints > 1})


class Measure(Settings):
    """How alignment is measured."""

    estimator: Literal["auto", "exact", "sketched"] = setting(
        "auto", "exact: a reverse pass per output; sketched: random, with standard errors; auto: exact up to 64 outputs"
    )
    probes: int = setting(1, "probes in each of the two sketches", ge=1, le=1000)
    samples: int = setting(1000, "the first this many of a fixed permutation of the training set", ge=1, le=10**7)
    early: int = setting(
        0,
        "follow gradient flow on the first this many of those samples, predicted and measured, for cells of plain sgd",
        ge=0,
        le=10**7,
    )


class Probe(Settings):
    """How features are probed."""

    kind: Literal["ridge", "logistic"] = setting(
        "ridge", "linear probe; logistic costs 10 to 50 times more, for classes only"
    )
    samples: int = setting(5000, "at most this many training samples", ge=10, le=10**7)
    max_features: int = setting(256, "larger feature maps are averaged over positions", ge=1, le=10**5)
    kernel: Literal["none", "first", "all"] = setting(
        "first", "layers whose learned metrics (NFM, AGOP) are tried in kernel machines, against the metric I"
    )
    kernel_samples: int = setting(1000, "at most this many training samples in kernel machines", ge=10, le=20_000)
    kernel_at: Literal["ends", "all"] = setting("ends", "checkpoints of the kernel machines: first and last, or all")
    rfm: int = setting(3, "iterations of the recursive feature machine on the raw input; 0: none", ge=0, le=100)


class Wandb(Settings):
    """Where runs are published."""

    mode: Literal["offline", "online", "disabled"] = setting(
        "offline", "offline: local files, for `wandb sync`; online: upload"
    )
    project: str = setting("nfa", "W&B project", min_length=1, max_length=128)
    entity: str | None = setting(None, "W&B team or user; yours if not given", min_length=1, max_length=128)
    checkpoints_mb: float = setting(
        0.0, "online: upload a run's checkpoints as an artifact where they are at most this many MB", ge=0, le=10**6
    )

    @model_validator(mode="after")
    def _names(self) -> Wandb:
        """Refuse what W&B would when the first run is published, after everything has trained."""
        for key, name in (("project", self.project), ("entity", self.entity)):
            if name is not None and (name != name.strip() or not name.isprintable() or set(name) & set("/\\#?%:")):
                raise ValueError(f"{key}: {one_line(name)} is no name; use letters and digits, none of / \\ # ? % :")
        return self


AXES = ("data", "model", "optimizer", "train")
SIZED = ("seeds", *AXES, "measure", "probe", "wandb")  # what a size of the sweep may change
KEYS = ("sweep", "size", "sizes", *SIZED)


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
        readable = _name_of(_readable(getattr(self, axis)) for axis in AXES[:3])
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


def load(path: str | Path, size: str | None = None) -> Sweep:
    """Read and check a sweep file.

    Args:
        path: The file.
        size: One of its ``sizes``, in place of the one it names.

    Raises:
        SweepError: One line: the file, the key, the value, what would be right.
    """
    document, origin = _contents(Path(path))
    if size is not None and isinstance(document, Mapping):
        document = {**document, "size": size}
    return from_file(parse(document, _source(Path(path), origin)), origin)


def from_file(sweep: Sweep, origin: Origin | None) -> Sweep:
    """Say which file a sweep was read from."""
    return replace(sweep, origin=origin)


def _contents(path: Path) -> tuple[Any, Origin | None]:
    """Read a sweep file, or the plan that jobs read; return what it says, and the sweep file.

    Raises:
        UserError: It cannot be read.
    """
    if path.name == PLAN:
        return read_plan(path)
    content = read_yaml(path)
    return content, Origin.of(path, content)


def _source(path: Path, origin: Origin | None) -> str:
    """Name a sweep file in messages; of a plan, which nobody has written by hand, the sweep file that it is of."""
    return os.path.relpath(origin.file) if origin is not None and path.name == PLAN else str(path)


def load_all_sizes(path: str | Path) -> list[Sweep]:
    """Read and check a sweep file as written and in each of its sizes."""
    document, _ = _contents(Path(path))
    if not isinstance(document, Mapping):
        return [parse(document, str(path))]
    written = parse({key: value for key, value in document.items() if key != "size"}, str(path))
    return [written, *(load(path, size) for size in written.sizes)]


def load_cells(path: str | Path, ids: Collection[str]) -> Sweep:
    """Read some cells of a sweep file that was checked before: a job of a large sweep does not expand all of it.

    Raises:
        SweepError: As for ``load``, or no cell has one of the ids.
    """
    document, origin = _contents(Path(path))
    sweep = from_file(parse(document, _source(Path(path), origin), frozenset(ids)), origin)
    if len(sweep.cells) < len(set(ids)):
        sweep = load(path)
        for cell_id in ids:
            sweep.cell(cell_id)
    return sweep


def parse(document: Any, source: str, ids: frozenset[str] | None = None) -> Sweep:
    """Check a sweep document and expand its grid; where ``ids`` are given, only to those cells, which are not checked.

    Raises:
        SweepError: One line: the source, the key, the value, what would be right.
    """
    check_size(document, source)
    if not isinstance(document, Mapping):
        raise SweepError(f"{source}: {one_line(document)} is not a sweep; it has keys such as sweep, {', '.join(AXES)}")
    document = plain_numbers(document)
    for key in document:
        if key not in KEYS:
            raise SweepError(f"{source}: {one_line(key)}: no such key; {nearest(key, KEYS)}")
    if "sweep" not in document:
        document = {"sweep": _stem(source), **document}
    written, document = document, at_size(document, SIZED, source)
    axes, sections = _read(document, source)
    sizes = tuple(written.get("sizes", ()))
    for size in sizes:  # the others are checked too, but for what only data can tell
        _read(at_size({**written, "size": size}, SIZED, source), f"{source}: sizes.{size}")
    sweep = Sweep(
        **sections,
        cells=tuple(_cells(axes, source) if ids is None else _named_cells(axes, ids)),
        source=source,
        document=document,
        sizes=sizes,
    )
    _check_probe(sweep)
    if ids is None:  # what some cell must have; the job of a few of them need not hold it
        _check_early(sweep)
    return sweep


def _read(document: Mapping[Any, Any], source: str) -> tuple[dict[str, list[_Entry]], dict[str, Any]]:
    """Check every setting of a document at one size: its axes' entries, and the other fields of a ``Sweep``."""
    for axis in AXES[:3]:
        if axis not in document:
            raise SweepError(f"{source}: {axis}: missing; give a list of entries, e.g. {_example(axis)}")
    sections = {
        "name": _name(document["sweep"], source),
        "seeds": _seeds(document.get("seeds", 3), source),
        "measure": _section(Measure, document, "measure", source),
        "probe": _section(Probe, document, "probe", source),
        "wandb": _section(Wandb, document, "wandb", source),
    }
    return {axis: _axis(document.get(axis, {}), axis, source) for axis in AXES}, sections


@dataclass(frozen=True)
class _Entry:
    """One expanded entry of an axis, with where it stands in the file and what it is kept to."""

    settings: Any
    where: str
    only: dict[str, list[str]]

    @cached_property
    def readable(self) -> str:
        """Its part of a cell's name."""
        return _readable(self.settings)


def _name(name: Any, source: str) -> str:
    if not isinstance(name, str) or not SEGMENT.fullmatch(name):
        raise SweepError(
            f"{source}: sweep: {one_line(name)} cannot name a folder; use letters, digits and . _ + - (64 at most)"
        )
    return name


def _stem(source: str) -> str:
    """Name a sweep whose file gives no name: as the file is called, without its ending."""
    stem = Path(source).stem
    if not SEGMENT.fullmatch(stem):
        raise SweepError(
            f"{source}: sweep: missing, and the file's own name {one_line(stem)} cannot name a folder; add "
            f"`sweep: NAME` of letters, digits and . _ + - (64 at most)"
        )
    return stem


def _seeds(seeds: Any, source: str) -> tuple[int, ...]:
    wrong = f"{source}: seeds: {one_line(seeds)} is neither a number of seeds nor a list of different seeds, 0 or more"
    if type(seeds) is int:
        if not 1 <= seeds <= MAX_SEEDS:
            raise SweepError(f"{source}: seeds: {one_line(seeds)}: use 1 to {MAX_SEEDS} seeds")
        return tuple(range(seeds))
    if not isinstance(seeds, list) or not seeds or len(seeds) > MAX_SEEDS:
        raise SweepError(wrong)
    if any(type(seed) is not int or not 0 <= seed < 2**31 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise SweepError(wrong)
    return tuple(seeds)


def _section(kind: type[Any], document: Mapping[Any, Any], key: str, source: str) -> Any:
    """Check a section that is no axis: one mapping, no grids."""
    content = document.get(key, {})
    if not isinstance(content, Mapping):
        raise SweepError(f"{source}: {key}: {one_line(content)} must be a mapping of settings")
    return _validate(kind, dict(content), f"{source}: {key}")


def _axis(content: Any, axis: str, source: str) -> list[_Entry]:
    """Check and expand one axis."""
    listed = isinstance(content, list)
    entries = content if listed else [content]
    if not entries:
        raise SweepError(f"{source}: {axis}: the list is empty; give at least one entry, e.g. {_example(axis)}")
    points = 0
    for number, entry in enumerate(entries):  # before any of them is expanded
        points += _points({**entry, "for": None}) if isinstance(entry, Mapping) else 1
        _check_number(points, f"{source}: {axis}[{number}]" if listed else f"{source}: {axis}")
    expanded = []
    for number, entry in enumerate(entries):
        where = f"{source}: {axis}[{number}]" if listed else f"{source}: {axis}"
        if not isinstance(entry, Mapping):
            raise SweepError(f"{where}: {one_line(entry)} must be a mapping of settings, e.g. {_example(axis)}")
        fields = dict(entry)
        only = _only(fields.pop("for", {}), axis, where)
        for point in _grid(_with_lists(fields, axis), where):
            expanded.append(_Entry(_settings(axis, point, where), where, only))
    return expanded


def _with_lists(fields: dict[Any, Any], axis: str) -> dict[Any, Any]:
    """Make a grid of one value of each list that is a value itself, e.g. of column names."""
    name = fields.get("name")
    entry = entry_of(_registry(axis), name) if axis != "train" and isinstance(name, str) else None
    kept = entry.settings.lists if entry else frozenset()
    return {
        key: [value]
        if key in kept and isinstance(value, list) and not any(isinstance(item, list) for item in value)
        else value
        for key, value in fields.items()
    }


def _only(content: Any, axis: str, where: str) -> dict[str, list[str]]:
    """Check an entry's ``for``: axis -> names of that axis it is kept to."""
    if not isinstance(content, Mapping):
        raise SweepError(f"{where}.for: {one_line(content)} must name another axis, e.g. {{data: fashion_mini}}")
    others = [other for other in AXES[:3] if other != axis]
    only = {}
    for other, names in content.items():
        if other not in others:
            raise SweepError(f"{where}.for: {one_line(other)}: no other axis with names; {nearest(other, others)}")
        names = names if isinstance(names, list) else [names]
        if not names:
            raise SweepError(f"{where}.for.{other}: the list is empty; name at least one {other} entry")
        for name in names:
            if not isinstance(name, str) or entry_of(_registry(other), name) is None:
                raise SweepError(
                    f"{where}.for.{other}: {one_line(name)}: no such {other}; {nearest(name, _registry(other))}"
                )
        only[other] = names
    return only


def _grid(content: Any, where: str) -> Iterator[Any]:
    """Expand every list inside an entry, nested mappings too, into its product in the order written."""
    if not isinstance(content, Mapping):
        yield content
        return
    choices = []
    for key, value in content.items():
        options = value if isinstance(value, list) else [value]
        if not options:
            raise SweepError(f"{where}.{cut(key)}: an empty grid; give at least one value")
        choices.append([(key, point) for option in options for point in _grid(option, f"{where}.{cut(key)}")])
    for combination in itertools.product(*choices):
        yield dict(combination)


def _points(content: Any) -> int:
    """Count the points of a grid without expanding it."""
    if not isinstance(content, Mapping):
        return 1
    lists = [value if isinstance(value, list) else [value] for value in content.values()]
    return math.prod(sum(map(_points, options)) for options in lists)


def _check_number(points: int, where: str) -> None:
    """Refuse a grid that is too large."""
    if points > MAX_CELLS:
        raise SweepError(f"{where}: a grid of {one_line(points)} points, and {MAX_CELLS} is the most; split the sweep")


def _registry(axis: str) -> Mapping[str, Any]:
    registries: dict[str, Mapping[str, Any]] = {"data": DATA, "model": MODELS, "optimizer": OPTIMIZERS}
    return registries[axis]


def _example(axis: str) -> str:
    return {
        "data": "{name: fashion_mini}",
        "model": "{name: mlp, depth: 2, width: 128}",
        "optimizer": "{name: sgd, lr: 0.5}",
        "train": "{steps: 1000}",
    }[axis]


def _settings(axis: str, point: dict[Any, Any], where: str) -> Any:
    """Check one point of an entry's grid against the settings of the entry it names."""
    if axis == "train":
        return _validate(Train, point, where)
    registry = _registry(axis)
    if "name" not in point:
        raise SweepError(f"{where}: name: missing; valid: {', '.join(sorted(registry))}")
    name = point["name"]
    entry = entry_of(registry, name) if isinstance(name, str) else None
    if entry is None:
        raise SweepError(f"{where}.name: {one_line(name)}: no such {axis}; {nearest(name, registry)}")
    return _validate(entry.settings, point, where)


def _validate(kind: type[Settings], content: dict[Any, Any], where: str) -> Any:
    """Build settings, turning pydantic's findings into one line."""
    for key in content:
        if not isinstance(key, str):
            raise SweepError(f"{where}: {one_line(key)}: a key must be text; {nearest(key, kind.model_fields)}")
    try:
        return kind(**content)
    except ValidationError as error:
        raise SweepError(explain(error, kind, where)) from None


def _cells(axes: dict[str, list[_Entry]], source: str) -> Iterator[Cell]:
    """Combine the axes, leaving out what ``for`` excludes; refuse what does not fit and what comes twice."""
    _check_number(_count(axes), source)
    seen: dict[str, str] = {}
    used: set[int] = set()
    for combination in itertools.product(*(axes[axis] for axis in AXES)):
        if _excluded(combination):
            continue
        chosen = dict(zip(AXES, combination, strict=True))
        cell = Cell(*(entry.settings for entry in combination))
        try:  # what lies in files or in the user's code is looked at here
            _check_fit(cell, chosen)
            cell.content  # noqa: B018
            data_entry(cell.data).check(cell.data)
        except SweepError:
            raise
        except UserError as error:
            at = chosen["model" if "shape" in vars(cell) and "layers" not in vars(cell) else "data"].where
            raise SweepError(f"{at}: {error}") from None
        places = " x ".join(entry.where.removeprefix(f"{source}: ") for entry in combination)
        if cell.id in seen:
            raise SweepError(f"{source}: {places}: the same cell as {seen[cell.id]} ({cell.id}); name each cell once")
        seen[cell.id] = places
        used |= {id(entry) for entry in combination}
        yield cell
    for entry in itertools.chain.from_iterable(axes.values()):
        if id(entry) not in used:
            raise SweepError(f"{entry.where}: in no cell: its `for`, or others', excludes every combination; widen it")


def _count(axes: dict[str, list[_Entry]]) -> int:
    """Count the cells without going through them: entries of one place in the file and one name are left out alike."""
    kinds: dict[str, dict[tuple[str, str], list[_Entry]]] = {axis: {} for axis in AXES}
    for axis, entries in axes.items():
        for entry in entries:
            kinds[axis].setdefault((entry.where, getattr(entry.settings, "name", "")), []).append(entry)
    if math.prod(map(len, kinds.values())) > MAX_CELLS:  # a `for` in each of many entries
        return math.prod(map(len, axes.values()))
    return sum(
        math.prod(map(len, alike))
        for alike in itertools.product(*(kinds[axis].values() for axis in AXES))
        if not _excluded(tuple(entries[0] for entries in alike))
    )


def _excluded(combination: tuple[_Entry, ...]) -> bool:
    """Whether the ``for`` of one of the entries leaves out another."""
    chosen = dict(zip(AXES, combination, strict=True))
    return any(chosen[other].settings.name not in names for entry in combination for other, names in entry.only.items())


def _named_cells(axes: dict[str, list[_Entry]], ids: frozenset[str]) -> Iterator[Cell]:
    """Find cells by their ids; a hash is taken only where the readable part fits."""
    names = {cell_id.rpartition(".")[0] for cell_id in ids}
    missing = len(ids)
    for combination in itertools.product(*(axes[axis] for axis in AXES)):
        if _name_of(entry.readable for entry in combination[:3]) in names and not _excluded(combination):
            cell = Cell(*(entry.settings for entry in combination))
            if cell.id in ids:
                yield cell
                missing -= 1
        if not missing:
            return


def _check_fit(cell: Cell, chosen: dict[str, _Entry]) -> None:
    """Refuse a network that the data do not fit, a speed for a layer that is not there, a loss that needs classes."""
    model, data = chosen["model"], chosen["data"]
    reads = model_entry(model.settings).reads
    if cell.shape.kind not in reads:
        needed, shape = " or ".join(sorted(reads)), " x ".join(map(str, cell.shape.input_shape))
        raise SweepError(
            f"{model.where}: {model.settings.name} needs {needed}, but {data.settings.name} gives {cell.shape.kind} of "
            f"{shape}; keep it to other data with for: {{data: ...}}"
        )
    if cell.train.loss == "cross_entropy" and cell.shape.classes is None:
        raise SweepError(
            f"{chosen['train'].where}.loss: cross_entropy needs classes, but {data.settings.name} is a regression; "
            f"use mse"
        )
    if cell.train.loss == "cross_entropy" and cell.shape.outputs < 2:
        raise SweepError(
            f"{chosen['train'].where}.loss: cross_entropy needs an output for each of several classes, but "
            f"{data.settings.name} has one; use mse"
        )
    if cell.train.loss == "logistic" and cell.shape.classes and not getattr(cell.data, "centre", True):
        raise SweepError(
            f"{chosen['train'].where}.loss: logistic takes the sign of a target, and with centre: false that of "
            f"{data.settings.name} is 0 for all classes but one; use centre: true, or mse"
        )
    if cell.train.rule in LAYERWISE and model_entry(model.settings).chain is False:
        chains = [name for name, entry in MODELS.items() if entry.chain]
        raise SweepError(
            f"{chosen['train'].where}.rule: {cell.train.rule} gives each layer its own error, but "
            f"{model.settings.name} is no chain of layers; {', '.join(chains)} are"
        )
    optimizer = chosen["optimizer"]
    adapt, steps = getattr(cell.optimizer, "adapt", None), cell.train.total_steps(cell.shape.n_train)
    if adapt is not None and adapt >= steps:
        raise SweepError(
            f"{optimizer.where}.adapt: {adapt}: speeds would never change in {steps:,} steps; use fewer steps between "
            f"measurements"
        )
    try:
        OPTIMIZERS[optimizer.settings.name].canonical(optimizer.settings, [layer.name for layer in cell.layers])
    except ValueError as error:
        raise SweepError(
            f"{optimizer.where}.{error} (layers of {model.settings.name} on {data.settings.name})"
        ) from None


def _check_probe(sweep: Sweep) -> None:
    """Refuse logistic probes of data without classes."""
    if sweep.probe.kind == "logistic":
        for cell in sweep.cells:
            if cell.shape.classes is None:
                name = cell.data.name  # type: ignore[attr-defined]
                raise SweepError(
                    f"{sweep.source}: probe.kind: logistic needs classes, but {name} is a regression; use ridge"
                )


def _check_early(sweep: Sweep) -> None:
    """Refuse early dynamics of a sweep in which no cell follows gradient flow: nothing would come of them."""
    if sweep.measure.early and not any(cell.follows_gradient_flow for cell in sweep.cells):
        raise SweepError(
            f"{sweep.source}: measure.early: {sweep.measure.early}: no cell follows gradient flow; add an optimizer "
            f"{{name: sgd}} without momentum, weight decay and clip, or leave it out"
        )


def _name_of(parts: Iterable[str]) -> str:
    """Join the readable part of a cell's id, cut where it is long."""
    return ".".join(parts)[:180]


def _readable(settings: Any) -> str:
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
