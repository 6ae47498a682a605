"""Was it predicted? C-NFC of each hidden layer at the first and the last checkpoint against its limit C-NFC(0+).

A line leads to each point from its control: both numbers with K turned at random.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure

from nfa.report.figures.panels import Mark, Panel, add_axes
from nfa.report.figures.probing import draw_layers
from nfa.report.figures.style import MUTED
from nfa.report.statistics.predictions import TARGETS
from nfa.report.statistics.study import Study

SIZE = (300.0, 270.0)


def panels(study: Study) -> list[Panel]:
    """Make two panels per data set, on the same axes; a point is a hidden layer of a cell, averaged over seeds."""
    means, found = study.prediction_means, []
    for data in dict.fromkeys(study.cells["data"]):
        part = means[means["data"] == data].dropna(subset=["update"])
        if len(part):
            found += [_panel(study, str(data), at, part) for at in TARGETS]
    return found


def _panel(study: Study, data: str, at: str, part: pd.DataFrame) -> Panel:
    low, high = int(part["first_step"].min()), int(part["first_step"].max())
    first = f"step {low:,}" if low == high else f"steps {low:,} to {high:,}"
    when = f"at {first}" if at == "first" else "at the last step"
    drawn = ["update", *TARGETS]
    lowest = float(part[[*drawn, *(f"{name}_control" for name in drawn)]].min().min())
    limit = np.floor(min(lowest, 0.9) * 10) / 10 - 0.02

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        axes = add_axes(figure, SIZE, (42, 34, 14, 12))
        axes.set_xlim(limit, 1.03)
        axes.set_ylim(limit, 1.03)
        axes.plot([limit, 1], [limit, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        ends = (part[[name, f"{name}_control"]].to_numpy().T for name in ("update", at))
        axes.plot(*ends, color=MUTED, linewidth=0.8, alpha=0.4)
        axes.plot(part["update_control"], part[f"{at}_control"], "x", color=MUTED, markersize=4)
        draw_layers(axes, study, part[["cell", "depth_from_output", "update", at]])
        axes.set_xlabel("predicted C-NFC(0+)")
        axes.set_ylabel("measured C-NFC")
        return []

    alt = (
        f"{data}: C-NFC of each hidden layer measured {when} against its limit predicted before training, joined to "
        "the same two numbers with K turned at random."
    )
    title = f"{data}: {when}"
    return Panel(title, title, alt, *SIZE, draw)
