"""When in training: UC-NFC and C-NFC of every layer over steps, with 95% bands over seeds."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from nfa.conventions import HEADLINE, Convention
from nfa.report.figures.panels import Mark, Panel, Values, add_axes, draw_mark
from nfa.report.figures.style import LAYER_COLOURS, layer_colour, layer_shade, nfc_limits, step_axis
from nfa.report.statistics.labels import quantity_labels
from nfa.report.statistics.study import Study

SIZE = (370.0, 190.0)
CROWD = 8  # layers whose lines and bands a panel has room for
QUANTITIES = ("uc_nfc", "c_nfc")


def over_steps(study: Study, cell: str, quantity: str, layer: int, rows: slice = slice(None)) -> Values:
    """Make a layer's series over checkpoints, or some of them."""

    def values(convention: Convention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        series = study.series(cell, quantity, layer, convention)
        return series.mean[rows], series.low[rows], series.high[rows]

    return values


def panels(study: Study) -> list[Panel]:
    """One panel per cell: UC-NFC at the left, C-NFC at the right, on the same axes."""
    return [panel(study, cell) for cells in study.groups.values() for cell in cells]


def shade_names(study: Study) -> list[tuple[int, str]]:
    """Name the depths from the output that share a colour, from far to near: number of the colour, and name."""
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

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        marks = []
        for side, (quantity, name) in enumerate(quantity_labels(QUANTITIES).items()):
            axes = add_axes(figure, SIZE, ((30, 34, 187, 20), (200, 34, 17, 20))[side])
            step_axis(axes, last, study.linear_steps)
            axes.set_ylim(*limits)
            axes.set_title(name, pad=5)
            axes.set_xlabel("optimizer step")
            if side:
                axes.tick_params(labelleft=False)
            for _, layer, depth in study.layers(cell):
                marks += _draw_layer(axes, study, cell, quantity, layer, depth)
        return marks

    label = study.row(cell)["label"]
    alt = f"{label}: UC-NFC and C-NFC of each layer over optimizer steps, with 95% bands over seeds."
    return Panel(label, study.row(cell)["optimizer"], alt, *SIZE, draw)


def _draw_layer(axes: Axes, study: Study, cell: str, quantity: str, layer: int, depth: int) -> list[Mark]:
    """Draw one layer's line and band, thinner where there are many; a limit at step 0 is a hollow marker."""
    series = study.series(cell, quantity, layer, HEADLINE)
    if not len(series.step):
        return []
    name, colour = f"{quantity}-{layer}", layer_colour(depth, study.deepest)
    values = over_steps(study, cell, quantity, layer)
    share = min(1.0, CROWD / len(study.layers(cell)))
    marks = [
        draw_mark(axes, f"{name}-band", "band", "y", series.step, values, color=colour, alpha=0.16 * share),
        draw_mark(
            axes, f"{name}-line", "line", "y", series.step, values, color=colour, linewidth=max(1.6 * share, 0.8)
        ),
    ]
    if quantity == "c_nfc" and series.step[0] == 0:
        limit = over_steps(study, cell, quantity, layer, slice(0, 1))
        style = {"color": colour, "marker": "o", "markerfacecolor": "none", "markersize": 5}
        marks.append(draw_mark(axes, f"{name}-limit", "dots", "y", series.step[:1], limit, **style))
    return marks
