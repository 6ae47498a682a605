"""The points of the four axes, combined to cells.

A cell is refused if its parts do not fit each other or if it comes twice. A point that no cell has is refused too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from nfa.errors import SweepError, UserError
from nfa.sweep.axes import MAX_CELLS, check_number
from nfa.sweep.axis_points import AXES, AxisPoint, Network
from nfa.sweep.cells import Cell
from nfa.sweep.checks import check_fit, check_kind

Axes = dict[str, list[Any]]  # axis -> its points


def checked_cells(axes: Axes, source: str) -> Iterator[Cell]:
    """Yield the cells in the order of the file, each checked.

    Raises:
        SweepError: A cell's parts do not fit, a cell comes twice, a point is in no cell, or there are too many cells.
    """
    check_number(_count(axes), source)
    seen: dict[str, Cell] = {}
    checked: set[Network | AxisPoint[Any, Any]] = set()
    for cell in _combined(axes):
        network = cell.network
        if network not in checked:
            _check_network(network, look_into_data=network.data not in checked)
            checked |= {network, network.data}
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
            raise SweepError(
                f"{point.where}: in no cell: its `for`, or that of other entries, excludes every combination; widen it"
            )


def _check_network(network: Network, *, look_into_data: bool) -> None:
    """Look at data and model, which may lie in files or in the user's code, and refuse a pair that does not fit."""
    data, where = network.data, network.data.where
    try:
        check_kind(network)  # asks for the shape of the data
        network.content(data)
        if look_into_data:
            data.entry.check(data.settings)
        where = network.model.where
        network.layers  # noqa: B018
    except SweepError:
        raise
    except UserError as error:
        raise SweepError(f"{where}: {error}") from None


def _combined(axes: Axes) -> Iterator[Cell]:
    """Combine the points of the axes in the order of the file, leaving out combinations that a ``for`` excludes."""
    for data, model in itertools.product(axes["data"], axes["model"]):
        network = Network(data, model)
        for optimizer, train in itertools.product(axes["optimizer"], axes["train"]):
            if not _excluded((data, model, optimizer, train)):
                yield Cell(network, optimizer, train)


def _count(axes: Axes) -> int:
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


def named_cells(axes: Axes, ids: frozenset[str]) -> Iterator[Cell]:
    """Find cells by their ids; a hash is computed only where the readable part fits."""
    names = {cell_id.rpartition(".")[0] for cell_id in ids}
    named = (cell for cell in _combined(axes) if cell.readable in names and cell.id in ids)
    return itertools.islice(named, len(ids))
