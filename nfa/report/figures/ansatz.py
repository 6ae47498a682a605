"""Does the ansatz hold? UC-NFC of each layer at the last step and at step 0, and its two controls."""

import numpy as np
from matplotlib.figure import Figure, SubFigure

from nfa.conventions import Convention
from nfa.report.figures.panels import Mark, MarkValues, Panel, add_axes, draw_mark, lay_out_rows
from nfa.report.figures.style import MUTED, nfc_limits, optimizer_colour
from nfa.report.statistics.study import Study

WIDTH, ROW, LAYER_GAP = 360.0, 11.0, 9.0
AROUND = 44.0  # points below and above the rows
MARGIN, LETTER, LONGEST_NAME = 72.0, 4.9, 30  # points left of the axes, points a letter, letters of a layer's name


def ending(name: str) -> str:
    """Cut a layer's name to ``LONGEST_NAME`` letters: at its start, where a name of many parts tells least.

    >>> ending("features.denseblock1.denselayer12.conv2")
    '…enseblock1.denselayer12.conv2'
    """
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def at_step(study: Study, places: list[tuple[str, int]], quantity: str, *, last: bool) -> MarkValues:
    """Return the values of a quantity at places (cell, layer index), at the last checkpoint or at step 0."""

    def values(convention: Convention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = np.full((3, len(places)), np.nan)
        for index, (cell, layer) in enumerate(places):
            curve = study.curve(cell, quantity, layer, convention)
            if len(curve.step):
                row = -1 if last else 0
                found[:, index] = curve.mean[row], curve.low[row], curve.high[row]
        return found[0], found[1], found[2]

    return values


def haar_band(study: Study, places: list[tuple[str, int]]) -> MarkValues:
    """Return the rotated control: its mean, and two standard deviations over rotations to either side."""
    means, spreads = (at_step(study, places, quantity, last=True) for quantity in ("haar_nfc", "haar_nfc_sd"))

    def values(convention: Convention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, spread = means(convention)[0], spreads(convention)[0]
        return mean, mean - 2 * spread, mean + 2 * spread

    return values


def panels(study: Study) -> list[Panel]:
    """Make one panel per data and model: a row per layer and optimizer."""
    limits = nfc_limits(study.lowest)
    return [_panel(study, title, cells, limits) for title, cells in study.groups.items()]


def _panel(study: Study, title: str, cells: list[str], limits: tuple[float, float]) -> Panel:
    layers = study.layers(cells[0])
    names = [ending(name) for name, *_ in layers]
    margin = max(MARGIN, LETTER * max(map(len, names)) + 6)
    group = len(cells) * ROW + LAYER_GAP
    height = len(layers) * group + AROUND

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        axes = add_axes(figure, (WIDTH, height), (margin, 34, 12, 10))
        axes.set_xlim(*limits)
        tops = lay_out_rows(axes, height - AROUND, len(layers), group)
        axes.set_yticks([top + group / 2 for top in tops], names)
        axes.set_xlabel("UC-NFC")
        marks = []
        for order, cell in enumerate(cells):
            colour = optimizer_colour(study.optimizer(cell))
            at = [top + LAYER_GAP / 2 + (order + 0.5) * ROW for top in tops]
            places = [(cell, index) for _, index, _ in layers]

            def put(name: str, kind: str, values: MarkValues, **style: object) -> None:
                marks.append(draw_mark(axes, f"{name}{order}", kind, "x", at, values, **style))  # noqa: B023

            band, style = haar_band(study, places), {"linewidth": 4, "alpha": 0.45, "solid_capstyle": "butt"}
            put("haar", "whiskers", band, color=MUTED, **style)
            rotated = at_step(study, places, "haar_nfc", last=True)
            put("haar-mean", "dots", rotated, color=MUTED, marker="|", markersize=8)
            put("w0", "dots", at_step(study, places, "w0_nfc", last=True), color=MUTED, marker="x", markersize=4.5)
            initial = at_step(study, places, "uc_nfc", last=False)
            put("initial", "dots", initial, color=colour, marker="o", markerfacecolor="none", markersize=5)
            final = at_step(study, places, "uc_nfc", last=True)
            put("interval", "whiskers", final, color=colour, linewidth=1.6)
            put("final", "dots", final, color=colour, marker="o", markersize=5.5)
        return marks

    alt = (
        f"{title}: UC-NFC per layer and optimizer at the last step and at step 0, beside its controls w0_nfc and "
        "haar_nfc."
    )
    return Panel(title, title, alt, WIDTH, height, draw)
