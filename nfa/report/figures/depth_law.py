"""Does the depth law hold? The power of the AGOP that fits each layer's NFM best, beside the law's 1/(L - l + 1).

A second estimate of that power, 1/(1 + p), comes from the slope p of K's spectrum against that of W W^T.
"""

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import NullLocator

from nfa.conventions import Convention
from nfa.report.figures.panels import Mark, MarkValues, Panel, add_axes, draw_mark, offset
from nfa.report.figures.style import MUTED, depth_axis, optimizer_colour
from nfa.report.statistics.study import Study

SIZE = (370.0, 210.0)
# Logarithm, base 2, of a power -> its label.
TICKS = {-6: "1/64", -5: "1/32", -4: "1/16", -3: "1/8", -2: "1/4", -1: "1/2", 0: "1", 1: "2", 2: "4", 3: "8"}


def panels(study: Study) -> list[Panel]:
    """Make one panel per data and model: a marker per optimizer and layer, with the range of powers that fit alike."""
    return [_panel(study, title, cells) for title, cells in study.groups.items()]


def best_powers(study: Study, places: list[tuple[str, int]]) -> MarkValues:
    """Return the logarithms, base 2, of best powers and of the ends of their ranges, at places (cell, layer index)."""

    def values(convention: Convention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = [study.best_power(cell, index, convention.correlation) for cell, index in places]
        found = np.array([[np.nan] * 3 if row is None else [row["power"], row["low"], row["high"]] for row in rows])
        power, low, high = np.log2(found).T
        return power, low, high

    return values


def slope_powers(study: Study, places: list[tuple[str, int]]) -> MarkValues:
    """Return the logarithms, base 2, of 1/(1 + p) at places (cell, layer index)."""

    def values(convention: Convention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = [study.best_power(cell, index, convention.correlation) for cell, index in places]
        power = np.log2([np.nan if row is None else row["slope_power"] for row in rows])
        return power, power, power

    return values


def _panel(study: Study, title: str, cells: list[str]) -> Panel:
    layers = study.layers(cells[0])

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        axes = add_axes(figure, SIZE, (36, 34, 12, 10))
        depth_axis(axes, study.deepest, margin=0.4)
        axes.set_ylim(-6.1, 3.1)
        axes.set_yticks(list(TICKS), list(TICKS.values()))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("layers from the output")
        axes.set_ylabel("best-fitting power")
        for _, index, depth in layers:
            law = study.law(cells[0], index)
            if np.isfinite(law):
                axes.plot([depth - 0.34, depth + 0.34], [np.log2(law)] * 2, color=MUTED, linewidth=1.4)
        marks = []
        for order, cell in enumerate(cells):
            colour = optimizer_colour(study.optimizer(cell))
            at = [depth - offset(order, len(cells), 3) for _, _, depth in layers]
            places = [(cell, index) for _, index, _ in layers]
            values, hollow = best_powers(study, places), {"color": colour, "markerfacecolor": "none"}
            slopes = slope_powers(study, places)
            marks += [
                draw_mark(axes, f"slope-{order}", "dots", "y", at, slopes, marker="D", markersize=6.5, **hollow),
                draw_mark(axes, f"range-{order}", "whiskers", "y", at, values, color=colour, linewidth=1.2),
                draw_mark(axes, f"best-{order}", "dots", "y", at, values, color=colour, marker="o", markersize=5),
            ]
        return marks

    alt = (
        f"{title}: best-fitting power of the AGOP of each layer and optimizer by depth, beside 1/(1 + p) and the depth "
        "law's power."
    )
    return Panel(title, title, alt, *SIZE, draw)
