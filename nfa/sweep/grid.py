"""Read and check a sweep file, and expand it to its cells. Imports no torch, so that planning is fast.

    sweep = load("config/config.yaml")
    for cell in sweep.cells:
        print(cell.id, cell.parameters())

An axis of the file is a list of entries. A list inside an entry is a grid. ``for`` in an entry names the entries of
another axis that it is combined with. A cell is one combination of the four axes, without the seed.

The id of a cell ends in a hash of its canonical content: the settings that differ from their defaults, with speeds by
layer and the length in steps. So a new value in a grid, a reordered key or a new setting of a later version changes no
id. For the same reason nobody changes a default without raising the stage's number in ``REVISIONS``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nfa.errors import SweepError, nearest, one_line
from nfa.sweep.axes import EXAMPLES, expand_axis, validate
from nfa.sweep.axis_points import AXES, NAMED_AXES
from nfa.sweep.cells import Sweep
from nfa.sweep.checks import check_early, check_heads, check_probe
from nfa.sweep.combine import Axes, checked_cells, named_cells
from nfa.sweep.explain import plain_numbers
from nfa.sweep.origin import PLAN, Origin, read_plan
from nfa.sweep.read_yaml import check_size, read_yaml
from nfa.sweep.search import Tune
from nfa.sweep.sizes import at_size
from nfa.sweep.stage_settings import Measure, Probe, Wandb

MAX_SEEDS = 10_000
SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")  # the name of a sweep, which is that of a folder

SIZED = ("seeds", *AXES, "tune", "measure", "probe", "wandb")  # what a size of the sweep may change
KEYS = ("sweep", "size", "sizes", *SIZED)


def load(path: str | Path, size: str | None = None) -> Sweep:
    """Read and check a sweep file.

    Args:
        path: The file.
        size: One of the file's ``sizes``, in place of the size that the file itself chooses.

    Raises:
        SweepError: One line: the file, the key, the value, what would be right.
    """
    document, origin = _contents(Path(path))
    if size is not None and isinstance(document, Mapping):
        document = {**document, "size": size}
    return from_file(parse(document, _source(Path(path), origin)), origin)


def from_file(sweep: Sweep, origin: Origin | None) -> Sweep:
    """Return a sweep that knows the file it was read from."""
    return replace(sweep, origin=origin)


def _contents(path: Path) -> tuple[Any, Origin | None]:
    """Read a sweep file or the plan that jobs read; return its content and the sweep file it comes from.

    Raises:
        UserError: The file cannot be read.
    """
    if path.name == PLAN:
        return read_plan(path)
    content = read_yaml(path)
    return content, Origin.of(path, content)


def _source(path: Path, origin: Origin | None) -> str:
    """Name a sweep file in messages; for a plan, name the sweep file that the plan was made from."""
    return os.path.relpath(origin.file) if origin is not None and path.name == PLAN else str(path)


def load_all_sizes(path: str | Path) -> list[Sweep]:
    """Read and check a sweep file as written and in each of its sizes."""
    document, _ = _contents(Path(path))
    if not isinstance(document, Mapping):
        return [parse(document, str(path))]
    written = parse({key: value for key, value in document.items() if key != "size"}, str(path))
    return [written, *(load(path, size) for size in written.sizes)]


def load_cells(path: str | Path, ids: Collection[str]) -> Sweep:
    """Read some cells of a sweep file that was checked before, without building and checking all others.

    Raises:
        SweepError: As for ``load``, or there is no cell with one of the ids.
    """
    document, origin = _contents(Path(path))
    sweep = from_file(parse(document, _source(Path(path), origin), frozenset(ids)), origin)
    if len(sweep.cells) < len(set(ids)):
        sweep = load(path)
        for cell_id in ids:
            sweep.cell(cell_id)
    return sweep


def parse(document: Any, source: str, ids: frozenset[str] | None = None) -> Sweep:
    """Check a sweep document and expand its grid.

    Args:
        document: The content of a sweep file.
        source: The file, for messages.
        ids: Expand the grid to the cells with these ids alone, and do not check the cells.

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
    for size in sizes:  # settings of the other sizes are checked too; whether their cells fit together is not
        _read(at_size({**written, "size": size}, SIZED, source), f"{source}: sizes.{size}")
    sweep = Sweep(
        **sections,
        cells=tuple(checked_cells(axes, source) if ids is None else named_cells(axes, ids)),
        source=source,
        document=document,
        sizes=sizes,
    )
    check_probe(sweep)
    if ids is None:  # these ask for one such cell in the sweep, which need not be among the cells of a job
        check_early(sweep)
        check_heads(sweep)
    return sweep


def _read(document: Mapping[Any, Any], source: str) -> tuple[Axes, dict[str, Any]]:
    """Check every setting of a document at one size; return the axes' points and the other fields of a ``Sweep``."""
    for axis in NAMED_AXES:
        if axis not in document:
            raise SweepError(f"{source}: {axis}: missing; give a list of entries, e.g. {EXAMPLES[axis]}")
    sections = {
        "name": _name(document["sweep"], source),
        "seeds": _seeds(document.get("seeds", 3), source),
        "tune": _section(Tune, document, "tune", source),
        "measure": _section(Measure, document, "measure", source),
        "probe": _section(Probe, document, "probe", source),
        "wandb": _section(Wandb, document, "wandb", source),
    }
    return {axis: expand_axis(document.get(axis, {}), axis, source) for axis in AXES}, sections


def _name(name: Any, source: str) -> str:
    if not isinstance(name, str) or not SEGMENT.fullmatch(name):
        raise SweepError(
            f"{source}: sweep: {one_line(name)} cannot name a folder; use letters, digits and . _ + - (64 at most)"
        )
    return name


def _stem(source: str) -> str:
    """Name a sweep whose file gives no name after the file, without its suffix."""
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
    """Check a section that is no axis: a mapping without grids."""
    content = document.get(key, {})
    if not isinstance(content, Mapping):
        raise SweepError(f"{source}: {key}: {one_line(content)} must be a mapping of settings")
    return validate(kind, dict(content), f"{source}: {key}")
