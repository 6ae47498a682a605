"""Does the ansatz hold? Directional factor and UC-NFC of each layer at the last step and at step 0, with controls."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from nfa.conventions import CONTROLS, READOUT, Convention
from nfa.report.figures.panels import Mark, MarkValues, Panel, add_axes, draw_mark, lay_out_rows
from nfa.report.figures.style import MUTED, nfc_limits, optimizer_colour
from nfa.report.statistics.study import Study

WIDTH, ROW, LAYER_GAP = 430.0, 11.0, 9.0
BELOW, ABOVE, BETWEEN, RIGHT = 24.0, 20.0, 12.0, 12.0  # points around the rows, and between the two axes
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


def control_band(study: Study, places: list[tuple[str, int]], quantity: str) -> MarkValues:
    """Return the control of a quantity: its mean, and two standard deviations over rotations to either side."""
    means, spreads = (at_step(study, places, name, last=True) for name in CONTROLS[quantity])

    def values(convention: Convention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, spread = means(convention)[0], spreads(convention)[0]
        return mean, mean - 2 * spread, mean + 2 * spread

    return values


def panels(study: Study) -> list[Panel]:
    """Make one panel per data and model: a row per layer and optimizer, in axes for directional factor and UC-NFC."""
    limits = nfc_limits(study.lowest)
    return [_panel(study, title, cells, limits) for title, cells in study.groups.items()]


def _panel(study: Study, title: str, cells: list[str], limits: tuple[float, float]) -> Panel:
    layers = study.layers(cells[0])
    names = [layer_name(name, depth) for name, _, depth in layers]
    margin = max(MARGIN, LETTER * max(map(len, names)) + 6)
    group = len(cells) * ROW + LAYER_GAP
    height = len(layers) * group + BELOW + ABOVE
    half = (WIDTH - margin - BETWEEN - RIGHT) / 2

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        marks = []
        for side, (quantity, label) in enumerate((("directional", "directional factor"), ("uc_nfc", "UC-NFC"))):
            left = margin + side * (half + BETWEEN)
            axes = add_axes(figure, (WIDTH, height), (left, BELOW, WIDTH - left - half, ABOVE))
            axes.set_xlim(*limits)
            tops = lay_out_rows(axes, height - BELOW - ABOVE, len(layers), group)
            axes.set_yticks([top + group / 2 for top in tops], [] if side else names)
            axes.set_title(label, pad=5)
            for order, cell in enumerate(cells):
                at = [top + LAYER_GAP / 2 + (order + 0.5) * ROW for top in tops]
                colour = optimizer_colour(study.optimizer(cell))
                marks += _draw_cell(
                    axes, study, [(cell, index) for _, index, _ in layers], quantity, at, colour, f"{side}-{order}"
                )
        return marks

    alt = (
        f"{title}: directional factor and UC-NFC per layer and optimizer at the last step and at step 0, beside their "
        "controls with K turned at random, and w0_nfc."
    )
    return Panel(title, title, alt, WIDTH, height, draw)


def layer_name(name: str, depth_from_output: int) -> str:
    """Name a layer in a figure; the readout is always called so, since its numbers are 1 by definition.

    >>> layer_name("4", depth_from_output=1), layer_name("6", depth_from_output=0)
    ('4', '6 (readout)')
    """
    marked = name if depth_from_output != READOUT or name == "readout" else f"{name} (readout)"
    return ending(marked)


def _draw_cell(
    axes: Axes, study: Study, places: list[tuple[str, int]], quantity: str, at: list[float], colour: str, tag: str
) -> list[Mark]:
    """Draw one cell's layers: the quantity at the last step and at step 0 over its controls."""
    marks = []

    def put(name: str, kind: str, values: MarkValues, **style: object) -> None:
        marks.append(draw_mark(axes, f"{name}{tag}", kind, "x", at, values, **style))

    band = control_band(study, places, quantity)
    put("haar", "whiskers", band, color=MUTED, linewidth=4, alpha=0.45, solid_capstyle="butt")
    put("haar-mean", "dots", band, color=MUTED, marker="|", markersize=8)
    if quantity == "uc_nfc":
        put("w0", "dots", at_step(study, places, "w0_nfc", last=True), color=MUTED, marker="x", markersize=4.5)
    initial, final = (at_step(study, places, quantity, last=last) for last in (False, True))
    put("initial", "dots", initial, color=colour, marker="o", markerfacecolor="none", markersize=5)
    put("interval", "whiskers", final, color=colour, linewidth=1.6)
    put("final", "dots", final, color=colour, marker="o", markersize=5.5)
    return marks
