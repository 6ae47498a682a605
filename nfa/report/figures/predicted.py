"""Was it predicted: the limit C-NFC(0+) of each hidden layer against its C-NFC at the first checkpoint and the last."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure

from nfa.conventions import HEADLINE, READOUT
from nfa.report.figures.panels import Mark, Panel, add_axes
from nfa.report.figures.probing import marker
from nfa.report.figures.style import MUTED, optimizer_colour
from nfa.report.statistics.predictions import TARGETS
from nfa.report.statistics.runs import at_convention
from nfa.report.statistics.study import Study

SIZE = (300.0, 270.0)


def panels(study: Study) -> list[Panel]:
    """Two panels per data set, on the same axes: a point is a hidden layer of a cell, mean over seeds."""
    points = study.predictions
    points = points[at_convention(points, HEADLINE) & (points["depth_from_output"] != READOUT)]
    points = points.astype({"cell": str, "layer": str})
    points = points[points["cell"].isin(study.shown)]
    by = ["data", "cell", "layer", "depth_from_output"]
    means = points.groupby(by, sort=True)[["update", *TARGETS, "first_step"]].mean().reset_index()
    found = []
    for data in dict.fromkeys(study.cells["data"]):
        part = means[means["data"] == data].dropna(subset=["update"])
        if len(part):
            found += [_panel(study, str(data), at, part) for at in TARGETS]
    return found


def _panel(study: Study, data: str, at: str, part: pd.DataFrame) -> Panel:
    low, high = int(part["first_step"].min()), int(part["first_step"].max())
    first = f"step {low:,}" if low == high else f"steps {low:,} to {high:,}"
    when = f"at {first}" if at == "first" else "at the last step"
    lowest = float(part[["update", *TARGETS]].min().min())
    limit = np.floor(min(lowest, 0.9) * 10) / 10 - 0.02

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        axes = add_axes(figure, SIZE, (42, 34, 14, 12))
        axes.set_xlim(limit, 1.03)
        axes.set_ylim(limit, 1.03)
        axes.plot([limit, 1], [limit, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        for cell, depth, value, measured in part[["cell", "depth_from_output", "update", at]].itertuples(index=False):
            style: dict[str, Any] = {"alpha": 0.85, "markersize": 5.5, "markeredgewidth": 0}
            axes.plot([value], [measured], marker(depth), color=optimizer_colour(study.optimizer(cell)), **style)
        axes.set_xlabel("predicted C-NFC(0+)")
        axes.set_ylabel("measured C-NFC")
        return []

    alt = f"{data}: C-NFC of each hidden layer measured {when} against its limit predicted before training."
    title = f"{data}: {when}"
    return Panel(title, title, alt, *SIZE, draw)
