"""When in training does alignment rise? Every layer over steps, with 95% bands over seeds.

Above, the directional factor less its control, K turned at random; below, UC-NFC and C-NFC.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from nfa.conventions import HEADLINE, Convention
from nfa.report.figures.panels import Mark, MarkValues, Panel, add_axes, add_pair, draw_mark
from nfa.report.figures.style import LAYER_COLOURS, MUTED, layer_colour, layer_shade, nfc_limits, step_axis
from nfa.report.statistics.labels import quantity_labels
from nfa.report.statistics.study import Study

SIZE = (370.0, 320.0)
TOP = 130.0  # points of the height for the directional factor
CROWD = 8  # with more layers, lines get thinner and bands paler
QUANTITIES = ("uc_nfc", "c_nfc")


def over_steps(study: Study, cell: str, quantity: str, layer: int, rows: slice = slice(None)) -> MarkValues:
    """Return a layer's values over checkpoints, or over some of them."""

    def values(convention: Convention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        curve = study.curve(cell, quantity, layer, convention)
        return curve.mean[rows], curve.low[rows], curve.high[rows]

    return values


def panels(study: Study) -> list[Panel]:
    """Make one panel per cell: the directional factor above its control, and UC-NFC and C-NFC below it."""
    return [panel(study, cell) for cells in study.groups.values() for cell in cells]


def shade_names(study: Study) -> list[tuple[int, str]]:
    """Name the depths that share a colour, from the input to the output: number of the colour, and name."""
    depths: dict[int, list[int]] = {}
    for depth in range(study.deepest, -1, -1):
        depths.setdefault(layer_shade(depth, study.deepest), []).append(depth)
    return [(shade, _span(near=found[-1], far=found[0])) for shade, found in depths.items()]


def _span(near: int, far: int) -> str:
    if far == 0:
        return "readout"
    return f"{far} from the output" if near == far else f"{near}\N{EN DASH}{far} from the output"


def legend(study: Study) -> list[tuple[str, str]]:
    """Label the colours of layers."""
    return [(name, LAYER_COLOURS[shade]) for shade, name in shade_names(study)]


def panel(study: Study, cell: str) -> Panel:
    """Make the panel of one cell; all of them have the same axes."""
    last, limits = int(study.cells["last_step"].max()), nfc_limits(study.lowest)
    directions = nfc_limits(study.lowest_above)

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        marks = []
        top = add_axes(figure, SIZE, (30, SIZE[1] - TOP + 14, 17, 20))
        top.set_title("directional factor above its control", pad=5)
        top.set_ylim(*directions)
        top.axhline(0, color=MUTED, linewidth=0.8)
        step_axis(top, last, study.linear_steps)
        for _, layer, depth in study.layers(cell):
            _draw_above(top, study, cell, layer, depth)
        pair = add_pair(figure, SIZE, quantity_labels(QUANTITIES).values(), limits, "optimizer step", above=TOP)
        for axes, quantity in zip(pair, QUANTITIES, strict=True):
            step_axis(axes, last, study.linear_steps)
            for _, layer, depth in study.layers(cell):
                marks += _draw_layer(axes, study, cell, quantity, layer, depth)
        return marks

    label = study.row(cell)["label"]
    alt = (
        f"{label}: the directional factor above its control, UC-NFC and C-NFC of each layer over optimizer steps, with "
        "95% bands over seeds."
    )
    return Panel(label, study.row(cell)["optimizer"], alt, *SIZE, draw)


def _draw_above(axes: Axes, study: Study, cell: str, layer: int, depth: int) -> None:
    """Draw the line and the band of one layer's directional factor above its control; the readout has none."""
    curve, colour, share = study.above_curve(cell, layer), layer_colour(depth, study.deepest), _share(study, cell)
    axes.fill_between(curve.step, curve.low, curve.high, color=colour, alpha=0.16 * share, linewidth=0)
    axes.plot(curve.step, curve.mean, color=colour, linewidth=max(1.6 * share, 0.8))


def _share(study: Study, cell: str) -> float:
    """Return 1, or less where a network has so many layers that thinner lines tell them apart."""
    return min(1.0, CROWD / len(study.layers(cell)))


def _draw_layer(axes: Axes, study: Study, cell: str, quantity: str, layer: int, depth: int) -> list[Mark]:
    """Draw one layer's line and band, and a hollow marker for C-NFC at step 0, which is a limit."""
    steps = study.curve(cell, quantity, layer, HEADLINE).step
    if not len(steps):
        return []
    name, colour = f"{quantity}-{layer}", layer_colour(depth, study.deepest)
    values = over_steps(study, cell, quantity, layer)
    share = _share(study, cell)
    marks = [
        draw_mark(axes, f"{name}-band", "band", "y", steps, values, color=colour, alpha=0.16 * share),
        draw_mark(axes, f"{name}-line", "line", "y", steps, values, color=colour, linewidth=max(1.6 * share, 0.8)),
    ]
    if quantity == "c_nfc" and steps[0] == 0:
        limit = over_steps(study, cell, quantity, layer, slice(0, 1))
        style = {"color": colour, "marker": "o", "markerfacecolor": "none", "markersize": 5}
        marks.append(draw_mark(axes, f"{name}-limit", "dots", "y", steps[:1], limit, **style))
    return marks
