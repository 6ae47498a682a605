"""A panel: a small figure that is drawn into a file or into the page.

In the page a panel is an SVG whose marks can move: the reader selects a convention (correlation and power), and a
script moves every ``Mark`` to its values in that convention. In a file all marks stay in the headline convention.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from nfa.conventions import HEADLINE, Convention
from nfa.report.figures.style import MUTED

POINTS_PER_INCH = 72  # one point is one unit of an SVG

MarkValues = Callable[[Convention], tuple[np.ndarray, np.ndarray, np.ndarray]]  # -> mean, lower and upper end


@dataclass(frozen=True)
class Mark:
    """Something drawn whose values depend on the convention, so that the page's selector moves it.

    Attributes:
        name: The artist's gid, unique in its panel.
        kind: ``line``, ``dots``, ``band`` (between low and high) or ``whiskers`` (from low to high at each point).
        axes: Where it is drawn.
        along: The axis that shows the value: ``x`` or ``y``.
        at: (m,) positions on the other axis.
        values: Convention -> mean, low, high at those positions.
    """

    name: str
    kind: str
    axes: Axes
    along: str
    at: np.ndarray
    values: MarkValues


@dataclass(frozen=True)
class Panel:
    """A small figure.

    Attributes:
        title: The title in a file.
        heading: The title in the page, where it stands below a heading of its group.
        alt: A description for readers who cannot see the figure.
        width: In points.
        height: In points.
        draw: Draws the panel in the headline convention and returns the marks that the selector can move.
    """

    title: str
    heading: str
    alt: str
    width: float
    height: float
    draw: Callable[[Figure | SubFigure], list[Mark]]


def add_axes(figure: Figure | SubFigure, panel: tuple[float, float], box: tuple[float, float, float, float]) -> Axes:
    """Add axes to a panel of (width, height) points; ``box`` are the left, bottom, right and top margins in points."""
    (width, height), (left, bottom, right, top) = panel, box
    shape = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    axes: Axes = figure.add_axes(shape)
    return axes


def add_pair(
    figure: Figure | SubFigure,
    panel: tuple[float, float],
    titles: Iterable[str],
    limits: tuple[float, float],
    x: str,
    *,
    above: float = 0.0,
) -> list[Axes]:
    """Add two axes beside each other, with one y axis between ``limits`` and the label ``x`` below each.

    ``above`` are the points of the panel's height that stay free above them.
    """
    pair = []
    for side, title in enumerate(titles):
        axes = add_axes(figure, panel, ((30, 34, 187, 20 + above), (200, 34, 17, 20 + above))[side])
        axes.set_ylim(*limits)
        axes.set_title(title, pad=5)
        axes.set_xlabel(x)
        if side:
            axes.tick_params(labelleft=False)
        pair.append(axes)
    return pair


def lay_out_rows(axes: Axes, height: float, groups: int, group: float) -> list[float]:
    """Divide axes ``height`` points high into groups of rows, from the top, with a line between them.

    Args:
        axes: The axes.
        height: Their height in points, which becomes the range of y.
        groups: Number of groups.
        group: Height of a group in points.

    Returns:
        The y of the top of each group.
    """
    axes.set_ylim(height, 0)
    axes.grid(False, axis="y")
    tops = [index * group for index in range(groups)]
    for top in tops[1:]:
        axes.axhline(top, color=MUTED, linewidth=0.3)
    return tops


def offset(order: int, count: int, fewest: int) -> float:
    """Return how far to move line ``order`` of ``count`` aside, so that intervals at one place do not cover each other.

    Lines share half of the distance from one place to the next; fewer than ``fewest`` lines are no further apart.
    """
    return (order - (count - 1) / 2) * 0.5 / max(count, fewest)


def draw_mark(
    axes: Axes, name: str, kind: str, along: str, at: Sequence[float] | np.ndarray, values: MarkValues, **style: Any
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
