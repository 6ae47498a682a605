"""Expand one axis of a sweep file to its points: an entry with lists inside is a grid.

``for`` in an entry names the entries of another axis that its points are combined with.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, get_origin

from pydantic import ValidationError

from nfa.entries import Settings, entry_of
from nfa.errors import SweepError, cut, nearest, one_line
from nfa.sweep.axis_points import NAMED_AXES, REGISTRIES, AxisPoint, DataPoint
from nfa.sweep.explain import explain
from nfa.sweep.search import Search, is_search, read_search
from nfa.sweep.stage_settings import Train

MAX_CELLS = 200_000  # also of the points of one axis
EXAMPLES = {
    "data": "{name: fashion_mini}",
    "model": "{name: mlp, depth: 2, width: 128}",
    "optimizer": "{name: sgd, lr: 0.5}",
    "train": "{steps: 1000}",
}


def expand_axis(content: Any, axis: str, source: str) -> list[AxisPoint[Any, Any]]:
    """Check an axis of a sweep file and expand it to its points.

    Args:
        content: An entry, or a list of entries.
        axis: One of ``AXES``.
        source: The sweep file, for messages.

    Raises:
        SweepError: A setting is wrong, a grid is empty or too large: one line.
    """
    listed = isinstance(content, list)
    entries = content if listed else [content]
    if not entries:
        raise SweepError(f"{source}: {axis}: the list is empty; give at least one entry, e.g. {EXAMPLES[axis]}")
    points = 0
    for number, entry in enumerate(entries):  # before any of them is expanded
        points += _points({**entry, "for": None}) if isinstance(entry, Mapping) else 1
        check_number(points, f"{source}: {axis}[{number}]" if listed else f"{source}: {axis}")
    expanded = []
    kind: type[AxisPoint[Any, Any]] = DataPoint if axis == "data" else AxisPoint
    for number, entry in enumerate(entries):
        where = f"{source}: {axis}[{number}]" if listed else f"{source}: {axis}"
        if not isinstance(entry, Mapping):
            raise SweepError(f"{where}: {one_line(entry)} must be a mapping of settings, e.g. {EXAMPLES[axis]}")
        fields = dict(entry)
        only = _only(fields.pop("for", {}), axis, where)
        for values in _grid(_with_lists(_with_searches(fields, axis, where), axis), where):
            searches = {key: value for key, value in values.items() if isinstance(value, Search)}
            for end in ("low", "high"):  # a value in between is allowed if both ends are
                settings = _settings(axis, values | {k: getattr(s, end) for k, s in searches.items()}, where)
            if "lr" in searches and settings.lr_times is not None:
                raise SweepError(f"{where}.lr_times: lr is tuned, so a factor on it has no meaning; leave it out")
            expanded.append(kind(axis, settings, _entry(axis, values.get("name")), where, only, searches))
    return expanded


def _with_searches(fields: dict[Any, Any], axis: str, where: str) -> dict[Any, Any]:
    """Replace each mapping that asks for a search, alone or in a list, by the search, which is one value of a grid.

    Raises:
        SweepError: It is no search, or stands on an axis other than the optimizer's.
    """
    entry = _entry(axis, fields.get("name"))

    def read(key: str, value: Any) -> Any:
        field = entry.settings.model_fields.get(key) if entry else None
        if not is_search(value) or (field is not None and get_origin(field.annotation) is dict):
            return value
        if axis != "optimizer":
            raise SweepError(f"{where}.{cut(key)}: only settings of an optimizer can be tuned; give a value, or a list")
        return value if entry is None else read_search(value, entry.settings, key, where)

    return {
        key: [read(key, item) for item in value] if isinstance(value, list) else read(key, value)
        for key, value in fields.items()
    }


def _with_lists(fields: dict[Any, Any], axis: str) -> dict[Any, Any]:
    """Put each list that is one value, such as a list of column names, into a list of its own: a grid of one value."""
    entry = _entry(axis, fields.get("name"))
    kept = Train.lists if axis == "train" else entry.settings.lists if entry else frozenset()
    return {
        key: [value]
        if key in kept and isinstance(value, list) and not any(isinstance(item, list) for item in value)
        else value
        for key, value in fields.items()
    }


def _only(content: Any, axis: str, where: str) -> dict[str, list[str]]:
    """Check an entry's ``for``; return other axis -> names of its entries."""
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
    """Yield the combinations of all lists inside an entry, also in nested mappings, in the order of the file."""
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


def check_number(points: int, where: str) -> None:
    """Refuse a grid of more than ``MAX_CELLS`` points."""
    if points > MAX_CELLS:
        raise SweepError(f"{where}: a grid of {one_line(points)} points, and {MAX_CELLS} is the most; split the sweep")


def _entry(axis: str, name: Any) -> Any:
    """Find an entry in the registry of an axis; None where it has no such entry, and on the axis ``train``."""
    return entry_of(REGISTRIES[axis], name) if axis in REGISTRIES and isinstance(name, str) else None


def _settings(axis: str, point: dict[Any, Any], where: str) -> Any:
    """Check one point of an entry's grid against the settings class of the entry."""
    if axis == "train":
        return validate(Train, point, where)
    registry = REGISTRIES[axis]
    if "name" not in point:
        raise SweepError(f"{where}: name: missing; valid: {', '.join(sorted(registry))}")
    name = point["name"]
    entry = _entry(axis, name)
    if entry is None:
        raise SweepError(f"{where}.name: {one_line(name)}: no such {axis}; {nearest(name, registry)}")
    return validate(entry.settings, point, where)


def validate(kind: type[Settings], content: dict[Any, Any], where: str) -> Any:
    """Build settings; turn what pydantic refuses into one line."""
    for key in content:
        if not isinstance(key, str):
            raise SweepError(f"{where}: {one_line(key)}: a key must be text; {nearest(key, kind.model_fields)}")
    try:
        return kind(**content)
    except ValidationError as error:
        raise SweepError(explain(error, kind, where)) from None
