"""Do better-aligned layers hold better features? Test score of each hidden layer's probe against its alignment."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from nfa.report.figures.panels import Mark, Panel, add_axes
from nfa.report.figures.style import MARKERS, MUTED, nfc_limits, optimizer_colour
from nfa.report.statistics.study import Study

SIZE = (370.0, 240.0)
MEASURES = {"directional_above_haar": "directional factor − control", "uc_nfc": "UC-NFC"}


def marker(depth_from_output: int) -> str:
    """Return the marker of a hidden layer by its depth from the output."""
    return MARKERS[(depth_from_output - 1) % len(MARKERS)]


def draw_layers(axes: Axes, study: Study, points: pd.DataFrame) -> None:
    """Draw hidden layers as points: colours show the optimizer, markers the depth from the output.

    Args:
        axes: The axes.
        study: Numbers the optimizers.
        points: The columns cell, depth from the output, x and y, in this order.
    """
    for cell, depth, x, y in points.itertuples(index=False):
        style: dict[str, Any] = {"alpha": 0.85, "markersize": 5.5, "markeredgewidth": 0}
        axes.plot([x], [y], marker(depth), color=optimizer_colour(study.optimizer(cell)), **style)


def panels(study: Study) -> list[Panel]:
    """Make one panel per data set and quantity; a point is a hidden layer of a cell, averaged over seeds."""
    means, found = study.probe_means, []
    for data in dict.fromkeys(study.cells["data"]):
        for column, name in MEASURES.items():
            part = means[means["data"] == data].rename(columns={column: "value"}).dropna(subset=["value", "probe"])
            if len(part):
                found.append(_panel(study, str(data), name, part))
    return found


def raw_input(study: Study, data: str) -> str:
    """Label the line of the raw input's score; if data of one name differ, with the settings that it averages over."""
    cells = study.cells.index[study.cells["data"] == data]
    varied = [name for name in study.collected.pooling.settings(cells) if name.startswith("data.")]
    return f"raw input, mean over {', '.join(varied)}" if varied else "raw input"


def _panel(study: Study, data: str, name: str, part: pd.DataFrame) -> Panel:
    cells = study.cells[study.cells["data"] == data]
    metric = {"r2": "R²"}.get(str(cells["probe_metric"].iloc[0]), "accuracy")
    baseline = float(cells["input_probe"].mean())
    line = raw_input(study, data)

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        axes = add_axes(figure, SIZE, (42, 34, 14, 12))
        draw_layers(axes, study, part[["cell", "depth_from_output", "value", "probe"]])
        if np.isfinite(baseline):
            axes.axhline(baseline, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            axes.annotate(line, (1, baseline), (0, 3), ha="right", color=MUTED, fontsize=8, **place)
        axes.margins(0.1)
        if name == MEASURES["uc_nfc"]:
            lowest = float(part["value"].min())
            axes.set_xlim(nfc_limits(lowest)[0] if lowest < 0.5 else np.floor(lowest * 10) / 10 - 0.02, 1.03)
        else:
            axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_xlabel(f"{name} at the last step")
        axes.set_ylabel(f"probe's test {metric}")
        return []

    alt = f"{data}: test {metric} of the probe of each hidden layer against the layer's {name}."
    title = f"{data}: {name}"
    return Panel(title, title, alt, *SIZE, draw)
