"""Write a figure's panels to SVG and PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from nfa.report.figures.panels import NO_METADATA, POINTS_PER_INCH, Panel
from nfa.report.figures.style import styled
from nfa.storage.atomic import replacing

DOTS_PER_INCH = 130  # of PNG files
MAX_PNG_PIXELS = 12_000  # on a side; larger figures get fewer dots per inch
TITLE = 22.0  # points above a panel in a file
LEFT, LETTER = 8.0, 6.0  # points left of a legend, and for a letter in it


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
    """Place labels beside each other, in as many rows as they need: row, and points from the left.

    >>> legend_places(["sgd", "adam", "muon"], width=100)
    [(0, 8.0), (0, 50.0), (1, 8.0)]
    """
    places: list[tuple[int, float]] = []
    row, left = 0, LEFT
    for label in labels:
        length = 24 + LETTER * len(label)
        if left > LEFT and left + length > width:
            row, left = row + 1, LEFT
        places.append((row, left))
        left += length
    return places


def _draw_titled(panel: Panel, part: SubFigure, width: float, height: float) -> None:
    """Draw a panel below its title, at its own size."""
    spare = 1e-3  # matplotlib refuses a ratio of 0
    heights = [TITLE, panel.height, max(height - TITLE - panel.height, spare)]
    widths = [panel.width, max(width - panel.width, spare)]
    grid = part.add_gridspec(3, 2, height_ratios=heights, width_ratios=widths, wspace=0, hspace=0)
    title = part.add_subfigure(grid[0, 0])
    title.text(8 / panel.width, 0.25, panel.title, va="center", fontsize=9, fontweight="bold")
    panel.draw(part.add_subfigure(grid[1, 0]))


def write_figure(figure: Figure, path: Path, endings: Sequence[str] = (".svg", ".png")) -> None:
    """Write a figure as ``path`` with each of ``endings``; a file is written whole or not at all."""
    dots = min(DOTS_PER_INCH, MAX_PNG_PIXELS / max(figure.get_size_inches()))
    for ending in endings:
        more: dict[str, Any] = (
            {"metadata": NO_METADATA} if ending == ".svg" else {"dpi": dots, "metadata": {"Software": None}}
        )
        with replacing(path.with_name(path.name + ending)) as temporary:
            figure.savefig(temporary, format=ending[1:], **more)
