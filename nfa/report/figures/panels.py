"""One panel drawn two ways: into the page, as an SVG that follows its colours and selector, and into a file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from nfa.conventions import HEADLINE, Convention

POINTS_PER_INCH = 72  # of SVG: one point is one of its units

Values = Callable[[Convention], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Mark:
    """Something drawn whose values depend on the convention, which the page's selector moves.

    Attributes:
        name: The artist's gid, unique in its panel.
        kind: ``line``, ``dots``, ``band`` (between low and high) or ``whiskers`` (from low to high at each point).
        axes: Where it is drawn.
        along: Which axis shows the value: ``x`` or ``y``.
        at: Positions on the other axis.
        values: Convention -> mean, low, high at those positions.
    """

    name: str
    kind: str
    axes: Axes
    along: str
    at: np.ndarray
    values: Values


@dataclass(frozen=True)
class Panel:
    """A small figure.

    Attributes:
        title: What it shows.
        heading: What the page writes above it, below a heading of its group.
        alt: What is to be seen, for who cannot see it.
        width: In points.
        height: In points.
        draw: Draws it, in the headline convention, and returns what the selector can move.
    """

    title: str
    heading: str
    alt: str
    width: float
    height: float
    draw: Callable[[Figure | SubFigure], list[Mark]]


def add_axes(figure: Figure | SubFigure, panel: tuple[float, float], box: tuple[float, float, float, float]) -> Axes:
    """Add axes at ``box`` = left, bottom, right, top margins in points, in a panel of that width and height."""
    (width, height), (left, bottom, right, top) = panel, box
    shape = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    axes: Axes = figure.add_axes(shape)
    return axes


def draw_mark(
    axes: Axes, name: str, kind: str, along: str, at: Sequence[float] | np.ndarray, values: Values, **style: Any
) -> Mark:
    """Draw a mark in the headline convention."""
    places = np.asarray(at, dtype=float)
    mean, low, high = values(HEADLINE)
    if kind == "band":
        across, value = np.concatenate([places, places[::-1]]), np.concatenate([low, high[::-1]])
        kept = np.isfinite(value)
        across, value = across[kept], value[kept]
        style = {"linewidth": 0, **style}
        points = (value, across) if along == "x" else (across, value)
        axes.fill(*(points if kept.any() else ([np.nan], [np.nan])), gid=name, **style)
    else:
        if kind == "whiskers":
            gaps = np.full(len(places), np.nan)
            across = np.column_stack([places, places, gaps]).ravel()
            value = np.column_stack([low, high, gaps]).ravel()
        else:
            across, value = places, mean
        points = (value, across) if along == "x" else (across, value)
        style = {"linestyle": "none"} | style if kind == "dots" else style
        axes.plot(*points, gid=name, clip_on=kind == "whiskers", **style)
    return Mark(name, kind, axes, along, places, values)


NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
