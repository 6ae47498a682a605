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
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nfa.entries import Settings, entry_of
from nfa.errors import SweepError, UserError, cut, nearest, one_line
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.checks import check_early, check_fit, check_kind, check_probe
from nfa.sweep.explain import explain, plain_numbers
from nfa.sweep.origin import PLAN, Origin, read_plan
from nfa.sweep.points import AXES, NAMED_AXES, REGISTRIES, AxisPoint, DataPoint, Network
from nfa.sweep.read_yaml import check_size, read_yaml
from nfa.sweep.sections import Measure, Probe, Train, Wandb
from nfa.sweep.sizes import at_size

MAX_CELLS = 200_000
MAX_SEEDS = 10_000
SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


SIZED = ("seeds", *AXES, "measure", "probe", "wandb")  # what a size of the sweep may change
KEYS = ("sweep", "size", "sizes", *SIZED)


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
    check_probe(sweep)
    if ids is None:  # what some cell must have; the job of a few of them need not hold it
        check_early(sweep)
    return sweep


def _read(document: Mapping[Any, Any], source: str) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Check every setting of a document at one size: its axes' entries, and the other fields of a ``Sweep``."""
    for axis in NAMED_AXES:
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


def _axis(content: Any, axis: str, source: str) -> list[AxisPoint[Any, Any]]:
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
    kind: type[AxisPoint[Any, Any]] = DataPoint if axis == "data" else AxisPoint
    for number, entry in enumerate(entries):
        where = f"{source}: {axis}[{number}]" if listed else f"{source}: {axis}"
        if not isinstance(entry, Mapping):
            raise SweepError(f"{where}: {one_line(entry)} must be a mapping of settings, e.g. {_example(axis)}")
        fields = dict(entry)
        only = _only(fields.pop("for", {}), axis, where)
        for values in _grid(_with_lists(fields, axis), where):
            settings = _settings(axis, values, where)
            expanded.append(kind(axis, settings, _entry(axis, values.get("name")), where, only))
    return expanded


def _with_lists(fields: dict[Any, Any], axis: str) -> dict[Any, Any]:
    """Make a grid of one value of each list that is a value itself, e.g. of column names."""
    entry = _entry(axis, fields.get("name"))
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
    others = [other for other in NAMED_AXES if other != axis]
    only = {}
    for other, names in content.items():
        if other not in others:
            raise SweepError(f"{where}.for: {one_line(other)}: no other axis with names; {nearest(other, others)}")
        names = names if isinstance(names, list) else [names]
        if not names:
            raise SweepError(f"{where}.for.{other}: the list is empty; name at least one {other} entry")
        for name in names:
            if _entry(other, name) is None:
                raise SweepError(
                    f"{where}.for.{other}: {one_line(name)}: no such {other}; {nearest(name, REGISTRIES[other])}"
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


def _entry(axis: str, name: Any) -> Any:
    """Find an entry in the registry of an axis; None where it has no such entry, and on the axis ``train``."""
    return entry_of(REGISTRIES[axis], name) if axis in REGISTRIES and isinstance(name, str) else None


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
    registry = REGISTRIES[axis]
    if "name" not in point:
        raise SweepError(f"{where}: name: missing; valid: {', '.join(sorted(registry))}")
    name = point["name"]
    entry = _entry(axis, name)
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


def _cells(axes: dict[str, list[Any]], source: str) -> Iterator[Cell]:
    """Yield the cells, each checked; refuse a cell that comes twice and a point that is in no cell."""
    _check_number(_count(axes), source)
    seen: dict[str, Cell] = {}
    checked: set[Network] = set()
    for cell in _combined(axes):
        if cell.network not in checked:
            _check_network(cell.network)
            checked.add(cell.network)
        check_fit(cell)
        if cell.id in seen:
            here, there = (
                " x ".join(point.where.removeprefix(f"{source}: ") for point in same.points)
                for same in (cell, seen[cell.id])
            )
            raise SweepError(f"{source}: {here}: the same cell as {there} ({cell.id}); name each cell once")
        seen[cell.id] = cell
        yield cell
    used = {point for cell in seen.values() for point in cell.points}
    for point in itertools.chain.from_iterable(axes.values()):
        if point not in used:
            raise SweepError(f"{point.where}: in no cell: its `for`, or others', excludes every combination; widen it")


def _check_network(network: Network) -> None:
    """Look at data and model, which may lie in files or in the user's code, and refuse a pair that does not fit."""
    data, where = network.data, network.data.where
    try:
        check_kind(network)  # asks for the shape of the data
        network.content(data)
        data.entry.check(data.settings)
        where = network.model.where
        network.layers  # noqa: B018
    except SweepError:
        raise
    except UserError as error:
        raise SweepError(f"{where}: {error}") from None


def _combined(axes: dict[str, list[Any]]) -> Iterator[Cell]:
    """Combine the points of the axes in the order of the file, leaving out combinations that a ``for`` excludes."""
    for data, model in itertools.product(axes["data"], axes["model"]):
        network = Network(data, model)
        for optimizer, train in itertools.product(axes["optimizer"], axes["train"]):
            if not _excluded((data, model, optimizer, train)):
                yield Cell(network, optimizer, train)


def _count(axes: dict[str, list[Any]]) -> int:
    """Count the cells without going through them: points of one entry and one name are excluded alike."""
    kinds: dict[str, dict[tuple[str, str], list[Any]]] = {axis: {} for axis in AXES}
    for axis, points in axes.items():
        for point in points:
            kinds[axis].setdefault((point.where, point.name), []).append(point)
    if math.prod(map(len, kinds.values())) > MAX_CELLS:  # a `for` in each of many entries
        return math.prod(map(len, axes.values()))
    return sum(
        math.prod(map(len, alike))
        for alike in itertools.product(*(kinds[axis].values() for axis in AXES))
        if not _excluded(tuple(points[0] for points in alike))
    )


def _excluded(points: tuple[AxisPoint[Any, Any], ...]) -> bool:
    """Tell whether the ``for`` of one of the points excludes another."""
    return any(
        other.name not in point.only.get(other.axis, (other.name,))
        for point in points
        if point.only
        for other in points
    )


def _named_cells(axes: dict[str, list[Any]], ids: frozenset[str]) -> Iterator[Cell]:
    """Find cells by their ids; a hash is computed only where the readable part fits."""
    names = {cell_id.rpartition(".")[0] for cell_id in ids}
    named = (cell for cell in _combined(axes) if cell.readable in names and cell.id in ids)
    return itertools.islice(named, len(ids))
