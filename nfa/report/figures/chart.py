"""The figure of ``nfa figure``: means and 95% intervals of chosen quantities, compared by chosen settings."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from nfa.report.figures.panels import Mark, Panel, add_axes, offset
from nfa.report.figures.saving import save
from nfa.report.figures.style import INK, OPTIMIZER_COLOURS, step_axis
from nfa.report.statistics.chart_data import DEPTH, LAYER, NOTHING, QUANTITY, STEP, Chart, column_of, named, show

WIDTH, HEIGHT, COLUMNS = 270.0, 200.0, 3
LETTER = 4.9  # points a letter of a tick label
MANY = 12  # so many layers are not joined by a line
DECADE = 10.0  # numbers that span this factor get a logarithmic axis

# Quantities have the same colour in every chart; controls are pale.
QUANTITY_COLOURS = {
    "uc_nfc": "#0072b2",
    "c_nfc": "#d55e00",
    "haar_nfc": "#8fb8d3",
    "w0_nfc": "#8b9099",
    "c_haar_nfc": "#eeb48f",
    "directional": "#cc79a7",
    "directional_haar": "#e8c3da",
    "spectral": "#5b5f97",
    "spectral_haar": "#b9bbd6",
    "fact": "#009e73",
    "test_accuracy": INK,
    "relative_change": "#b38600",
}
# Lines of the first, second, ... quantity where colours distinguish something else, with their names for the legend.
LINES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
LINE_NAMES = ("solid", "dashed", "dotted", "dash-dotted")


def save_chart(chart: Chart, path: Path) -> None:
    """Write a chart to a file that ends in .png or .svg."""
    colours = _colours(chart)
    names = chart.values(QUANTITY)
    legend = [(named(chart.roles.colour, value), colour) for value, colour in colours.items() if value != ""]
    if QUANTITY not in (chart.roles.colour, chart.roles.panel) and len(names) > 1:
        legend += [(f"{style}: {name}", INK) for style, name in zip(LINE_NAMES, names, strict=False)]
    panels = []
    for value in chart.values(chart.roles.panel):
        # Panels have the same limits of y, unless each panel shows another quantity.
        limits = _limits(chart.rows(QUANTITY, value) if chart.roles.panel == QUANTITY else chart.table)
        panels.append(_panel(chart, value, colours, limits))
    save(panels, COLUMNS if len(panels) != 4 else 2, path.with_suffix(""), legend, [path.suffix])


def _colours(chart: Chart) -> dict[object, str]:
    """Give every value of the colour role a colour."""
    values = chart.values(chart.roles.colour)
    spare = [colour for colour in OPTIMIZER_COLOURS if colour not in {QUANTITY_COLOURS.get(str(v)) for v in values}]
    following = itertools.cycle(spare)
    return {value: QUANTITY_COLOURS.get(str(value)) or next(following) for value in values}


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """Return the limits of y: 0 to 1, wider if means lie outside, narrower if they all lie below one half."""
    low, high = float(table["mean"].min()), float(table["mean"].max())
    low = min(0.0, np.floor(low * 5) / 5) if np.isfinite(low) else 0.0
    if 0 < high <= 0.5:
        return low - 0.02 * high, 1.5 * high
    return low - 0.02, 1.03 if high <= 1.03 else 1.08 * high


def _evenly(steps: pd.Series) -> bool:
    """Return True if there are at least four steps, spaced evenly, as with ``train: {spacing: linear}``."""
    gaps = np.diff(np.unique(steps))
    return len(gaps) > 2 and bool(gaps.min() > 1 and gaps.max() <= gaps.min() + 1)


def _panel(chart: Chart, value: object, colours: dict[object, str], limits: tuple[float, float]) -> Panel:
    roles, title = chart.roles, named(chart.roles.panel, value)
    rows = chart.rows(roles.panel, value)
    x = column_of(roles.x)
    places = list(dict.fromkeys(rows[x]))
    numeric = roles.x != STEP and _has_scale(places)
    labels = [show(place) for place in places]
    turned = roles.x != STEP and not numeric and max(map(len, labels)) * LETTER > (WIDTH - 50) / len(labels)
    # Names have no order, so no line joins them; layers have one, but a line along many of them hides the points.
    joined = len(places) < MANY if roles.x == LAYER else not any(isinstance(place, str) for place in places)
    below = 34.0 + (LETTER * max(map(len, labels)) if turned else 0.0)
    height = HEIGHT + below - 34.0

    lines = [part for _, part in rows.groupby(_line_keys(chart), sort=False)]

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        names = chart.values(QUANTITY)
        unnamed = len(names) == 1 and QUANTITY not in (roles.colour, roles.panel)  # neither in legend nor in title
        axes = add_axes(figure, (WIDTH, height), (46 if unnamed else 34, below, 12, 8))
        axes.set_ylim(*limits)
        if unnamed:
            axes.set_ylabel(str(names[0]))
        if roles.x == STEP:
            step_axis(axes, int(rows["step"].max()), linear=all(_evenly(part["step"]) for part in lines))
        elif numeric:
            _number_axis(axes, [float(place) for place in places])
        else:
            axes.set_xticks(range(len(places)), labels, rotation=90 if turned else 0)
            axes.set_xlim(-0.5, len(places) - 0.5)
            axes.grid(False, axis="x")
        axes.set_xlabel({STEP: "optimizer step", DEPTH: "layers from the output", LAYER: ""}.get(roles.x, roles.x))
        index = {place: number for number, place in enumerate(places)}
        styled_by_quantity = QUANTITY not in (roles.colour, roles.panel)
        for order, part in enumerate(lines):
            exact = roles.x == STEP or numeric
            at = part[x].astype(float) if exact else part[x].map(index) + offset(order, len(lines), 4)
            colour = OPTIMIZER_COLOURS[0]
            if roles.colour != NOTHING:
                colour = colours[part[column_of(roles.colour)].iloc[0]]
            style = LINES[names.index(part[QUANTITY].iloc[0]) % len(LINES)] if styled_by_quantity else "-"
            _draw_line(axes, np.asarray(at, float), part, colour, style, joined=joined)
        return []

    alt = f"{title}: {', '.join(map(str, chart.values(QUANTITY)))} by {roles.x}, means and 95% intervals over seeds."
    return Panel(title, title, alt, WIDTH, height, draw)


def _line_keys(chart: Chart) -> list[str]:
    """Return the columns whose values together identify a line."""
    colour = [] if chart.roles.colour == NOTHING else [column_of(chart.roles.colour)]
    return list(dict.fromkeys([*colour, QUANTITY]))


def _has_scale(places: Sequence[Any]) -> bool:
    """Return True if places are numbers that a linear or a logarithmic axis separates: not 0, 0.001, 0.01, 0.1."""
    if not all(isinstance(place, int | float | np.number) for place in places):
        return False
    sizes = [abs(float(place)) for place in places if place]
    return len(sizes) == len(places) or max(sizes) < DECADE * min(sizes)


def _number_axis(axes: Axes, places: Sequence[float]) -> None:
    """Make x an axis of the values of a setting."""
    if min(places) > 0 and max(places) >= DECADE * min(places):
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xlim(min(places) / 1.3, max(places) * 1.3)
    else:
        room = 0.08 * (max(places) - min(places)) or 0.5
        axes.set_xlim(min(places) - room, max(places) + room)
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.grid(False, axis="x")


def _draw_line(axes: Axes, at: np.ndarray, part: pd.DataFrame, colour: str, style: Any, *, joined: bool) -> None:
    """Draw one line with its points and their intervals."""
    mean, low, high = (part[column].to_numpy(float) for column in ("mean", "ci_low", "ci_high"))
    axes.vlines(at, low, high, color=colour, linewidth=1.2, alpha=0.55)
    axes.plot(at, mean, linestyle=style if joined else "none", color=colour, marker="o", markersize=3.5, linewidth=1.3)
