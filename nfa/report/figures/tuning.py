"""Validation loss of every trial over the value of the setting that is tuned."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure

from nfa.report.figures.panels import Mark, Panel, add_axes
from nfa.report.figures.style import optimizer_colour
from nfa.report.statistics.study import Study
from nfa.report.statistics.tuning import trial_ends

SIZE = (300.0, 190.0)


def panels(study: Study) -> list[Panel]:
    """Make one panel per data, model and training, and per setting, with a line per optimizer."""
    tuned = study.tables["tuning"]
    ends = {str(cell): part for cell, part in trial_ends(study.tables["tuning_trials"]).groupby("cell", sort=False)}
    made = []
    for title, cells in study.groups.items():
        rows = tuned[tuned["cell"].isin(cells)]
        for setting, part in rows.groupby("setting", sort=False):
            made.append(_panel(study, title, str(setting), part, ends))
    return made


def _panel(study: Study, title: str, setting: str, tuned: pd.DataFrame, ends: dict[str, pd.DataFrame]) -> Panel:
    name = setting.partition(".")[2]
    log = bool((tuned["low"] > 0).all()) and "linear" not in set(tuned["scale"])

    shown = tuned["cell"].unique()
    start = study.tables["tuning_trials"].query("step == 0 and split == 'validation' and metric == 'loss'")
    highest = 2 * float(start.loc[start["cell"].isin(shown), "value"].max())
    lowest = float(tuned["validation_loss"].min())

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        axes = add_axes(figure, SIZE, (46, 34, 10, 10))
        axes.set_yscale("log")
        axes.set_ylim(0.8 * lowest, highest)
        if log:
            axes.set_xscale("log")
        for row in tuned.to_dict("records"):
            trials, colour = ends[row["cell"]], optimizer_colour(study.optimizer(row["cell"]))
            trials = trials.assign(at=[values[name] for values in trials["values"]]).sort_values("at")
            lost = trials[~np.isfinite(trials["loss"])]
            trials = trials[np.isfinite(trials["loss"])].assign(loss=lambda frame: frame["loss"].clip(upper=highest))
            if trials["values"].map(len).max() == 1:  # of several settings, a value of one has many trials
                axes.plot(trials["at"], trials["loss"], color=colour, linewidth=0.8, alpha=0.5)
            for whole, part in trials.groupby("whole"):
                axes.plot(
                    part["at"], part["loss"], "o", color=colour, fillstyle="full" if whole else "none", clip_on=False
                )
            axes.plot(row["value"], row["validation_loss"], "o", color=colour, markersize=10, fillstyle="none")
            axes.plot(
                lost["at"],
                np.full(len(lost), 1.0),
                "x",
                color=colour,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )
        axes.set_xlabel(name)
        axes.set_ylabel("validation loss")
        return []

    heading = f"{title}: {name}"
    alt = f"{heading}: validation loss of every trial over the value of {name}; one line per optimizer."
    return Panel(heading, heading, alt, *SIZE, draw)
