"""One panel drawn two ways: into the page, as an SVG that follows its colours and selector, and into a file."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from nfa.report.conventions import CONVENTIONS, HEADLINE, Convention
from nfa.report.figures.style import CSS_VARIABLES, styled
from nfa.report.markup import Safe, escape
from nfa.tables import replacing

POINTS_PER_INCH = 72  # of SVG: one point is one of its units
DOTS_PER_INCH = 130  # of PNG files
TITLE = 22.0  # points above a panel in a file
LEFT, LETTER = 8.0, 6.0  # points left of a legend, and for a letter in it
MAX_PNG_PIXELS = 12_000  # a side; larger sweeps get fewer dots per inch

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


@dataclass
class Live:
    """What the page's script needs to show another convention: collected while the page is made."""

    marks: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)


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


def render(panel: Panel, prefix: str, live: Live) -> Safe:
    """Draw a panel for the page; its moving parts are added to ``live``."""
    with styled():
        figure = Figure(figsize=(panel.width / POINTS_PER_INCH, panel.height / POINTS_PER_INCH), dpi=POINTS_PER_INCH)
        FigureCanvasAgg(figure)
        marks = panel.draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata=_NO_METADATA)
    live.marks += [_describe(mark, prefix, panel.height) for mark in marks]
    return _for_page(stream.getvalue(), prefix, panel)


_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def _for_page(svg: str, prefix: str, panel: Panel) -> Safe:
    """Keep the drawing alone, make its ids unique on the page and its colours variables."""
    body = svg[svg.index("<svg") : svg.rindex("</svg>")]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"\s*\n\s*", " ", body)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = body.replace('xlink:href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    body = re.sub("#[0-9a-f]{6}", lambda match: _variable(match.group()), body)
    size = f'viewBox="0 0 {panel.width:g} {panel.height:g}" style="max-width:{panel.width * 1.25:g}px"'
    return Safe(f'<svg {size} role="img" aria-label="{escape(panel.alt)}">{body}</svg>')


def _variable(colour: str) -> str:
    return f"var({CSS_VARIABLES[colour]})" if colour in CSS_VARIABLES else colour


def _describe(mark: Mark, prefix: str, height: float) -> dict[str, Any]:
    """Say where a mark is in the SVG: positions across, and the linear map from values to coordinates."""
    transform = mark.axes.transData
    if mark.along == "y":
        across = transform.transform([(place, 0.0) for place in mark.at])[:, 0]
        start, end = (height - transform.transform([(1.0, value)])[0, 1] for value in (0.0, 1.0))
    else:
        across = height - transform.transform([(0.0, place) for place in mark.at])[:, 1]
        start, end = (transform.transform([(value, 0.0)])[0, 0] for value in (0.0, 1.0))
    return {
        "id": f"{prefix}-{mark.name}",
        "kind": mark.kind,
        "along": mark.along,
        "at": _rounded(across, 1),
        "map": _rounded(np.array([start, end - start]), 2),
        "values": [_needed(mark, convention) for convention in CONVENTIONS],
    }


def _needed(mark: Mark, convention: Convention) -> list[list[float | None]]:
    """Return the values that a kind of mark shows: the means, or the two ends."""
    mean, low, high = mark.values(convention)
    return [_rounded(part, 3) for part in ((mean,) if mark.kind in ("line", "dots") else (low, high))]


def _rounded(values: np.ndarray, digits: int) -> list[float | None]:
    return [round(float(value), digits) + 0.0 if np.isfinite(value) else None for value in values]


def save(
    panels: Sequence[Panel],
    columns: int,
    path: Path,
    legend: Sequence[tuple[str, str]] = (),
    endings: Sequence[str] = (".svg", ".png"),
) -> None:
    """Write panels as one figure, ``path``.svg and ``path``.png; the same data give the same bytes.

    Args:
        panels: The panels.
        columns: Panels in a row.
        path: The files' name without its ending.
        legend: Labels and their colours.
        endings: Files to write.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width, height = columns * max(panel.width for panel in panels), max(panel.height for panel in panels) + TITLE
    places = legend_places([label for label, _ in legend], width)
    above = TITLE * (1 + max((row for row, _ in places), default=0))
    with styled():
        inches = (width / POINTS_PER_INCH, (rows * height + above) / POINTS_PER_INCH)
        figure = Figure(figsize=inches, facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 1, height_ratios=[above, rows * height], hspace=0)
        top, body = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
        for (label, colour), (row, left) in zip(legend, places, strict=True):
            at = left / width, 1 - (row + 0.65) * TITLE / above
            top.text(*at, f"\N{BLACK CIRCLE} {label}", color=colour, fontsize=9, va="center")
        parts = body.subfigures(rows, columns, squeeze=False, wspace=0, hspace=0).ravel()
        for panel, part in zip(panels, parts, strict=False):
            _draw_titled(panel, part, width / columns, height)
        write_figure(figure, path, endings)


def legend_places(labels: Sequence[str], width: float) -> list[tuple[int, float]]:
    """Place labels beside each other, in as many rows as they need: row, and points from the left."""
    places: list[tuple[int, float]] = []
    row, left = 0, LEFT
    for label in labels:
        long = 24 + LETTER * len(label)
        if left > LEFT and left + long > width:
            row, left = row + 1, LEFT
        places.append((row, left))
        left += long
    return places


def _draw_titled(panel: Panel, part: SubFigure, width: float, height: float) -> None:
    """Draw a panel below its title, at its own size."""
    spare = 1e-3  # a ratio may not be 0
    heights = [TITLE, panel.height, max(height - TITLE - panel.height, spare)]
    widths = [panel.width, max(width - panel.width, spare)]
    grid = part.add_gridspec(3, 2, height_ratios=heights, width_ratios=widths, wspace=0, hspace=0)
    title = part.add_subfigure(grid[0, 0])
    title.text(8 / panel.width, 0.25, panel.title, va="center", fontsize=9, fontweight="bold")
    panel.draw(part.add_subfigure(grid[1, 0]))


def write_figure(figure: Figure, path: Path, endings: Sequence[str] = (".svg", ".png")) -> None:
    """Write a figure as ``path``.svg and ``path``.png, or one of them, each whole or not at all."""
    dots = min(DOTS_PER_INCH, MAX_PNG_PIXELS / max(figure.get_size_inches()))
    for ending in endings:
        more: dict[str, Any] = (
            {"metadata": _NO_METADATA} if ending == ".svg" else {"dpi": dots, "metadata": {"Software": None}}
        )
        with replacing(path.with_name(path.name + ending)) as temporary:
            figure.savefig(temporary, format=ending[1:], **more)
