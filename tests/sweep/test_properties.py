"""Whatever happens to a valid sweep file, the answer is a sweep or one line: never a traceback."""

import copy
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nfa.digests import digest
from nfa.errors import SweepError
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import SEGMENT, parse
from tests.helpers import tiny

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**6),
    st.integers(),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from(["mlp", "conv", "full", "1e-3", "mse", "first", "others", "fashion_mini", "../x", "<script>"]),
    st.dates(),
    st.binary(max_size=3),
)
KEYS = st.text(max_size=6) | st.integers()
VALUES = st.recursive(ODD, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=3))


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the path of every node below the root."""
    if isinstance(document, dict):
        items = list(document.items())
    else:
        items = list(enumerate(document)) if isinstance(document, list) else []
    return [found for key, value in items for found in ((*path, key), *places(value, (*path, key)))]


def parent(document: Any, path: tuple[Any, ...]) -> Any:
    """Return the node that holds the node at a path."""
    for key in path[:-1]:
        document = document[key]
    return document


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Draw a valid document with one to three nodes replaced, removed, renamed, doubled or added."""
    slo = {"name": "slo", "speeds": {"first": 1, "others": 0.1}}
    document: Any = tiny(optimizer=[{"name": "sgd", "lr": [0.1, 0.2]}, slo])
    for _ in range(draw(st.integers(1, 3))):
        found = places(document)
        if not found:
            break
        path = draw(st.sampled_from(found))
        holder, key = parent(document, path), path[-1]
        action = draw(st.sampled_from(["replace", "remove", "double", "rename", "add"]))
        if action == "replace":
            holder[key] = draw(VALUES)
        elif action == "remove":
            del holder[key]
        elif action == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif action == "rename" and isinstance(holder, dict):
            holder[draw(st.text(max_size=6) | st.integers() | st.none())] = holder.pop(key)
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=6))] = draw(VALUES)
    return document


def check(sweep: Sweep) -> None:
    """Check what every sweep promises."""
    assert sweep.cells
    assert sweep.seeds
    assert SEGMENT.fullmatch(sweep.name)
    names = [cell.id for cell in sweep.cells]
    assert len(set(names)) == len(names)
    assert all("/" not in name and name not in (".", "..") and name.isprintable() and len(name) < 250 for name in names)
    digest(sweep.document)
    for cell in sweep.cells:
        assert math.isfinite(cell.optimizer.lr)
        assert cell.optimizer.lr > 0
        assert cell.layers


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_any_mutation_gives_a_sweep_or_one_line(document: Any) -> None:
    try:
        check(parse(document, "my.yaml"))
    except SweepError as error:
        assert "\n" not in str(error)
        assert str(error).startswith("my.yaml: ")
        assert len(str(error)) < 1000


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_any_document_gives_a_sweep_or_one_line(document: Any) -> None:
    try:
        check(parse(document, "my.yaml"))
    except SweepError as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(
    widths=st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True),
    rates=st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=4, unique=True),
    depths=st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True),
)
def test_a_grid_has_every_combination_once(widths: list[int], rates: list[float], depths: list[int]) -> None:
    document = tiny(
        data=[{"name": "chain_monomial"}],
        model=[{"name": "mlp", "width": widths, "depth": [depth + 1 for depth in depths]}],
        optimizer=[{"name": "sgd", "lr": rates}],
    )
    sweep = parse(document, "my.yaml")
    check(sweep)
    assert len(sweep.cells) == len(widths) * len(rates) * len(depths)
