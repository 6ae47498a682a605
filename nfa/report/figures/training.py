"""Did it train? Test loss over steps, divided by that of the best constant prediction."""

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, NullLocator

from nfa.conventions import LEARNED_SHARE
from nfa.report.figures.panels import Mark, Panel, add_axes
from nfa.report.figures.style import MUTED, optimizer_colour, step_axis
from nfa.report.statistics.study import Study

SIZE = (300.0, 190.0)


def panels(study: Study) -> list[Panel]:
    """Make one panel per data and model, with a line per optimizer."""
    losses = study.relative_losses
    parts = dict(tuple(losses.groupby("cell", sort=False)))
    values = losses["mean"].to_numpy(float)
    values = values[np.isfinite(values) & (values > 0)]
    limits = (min(values.min(initial=1.0) * 0.8, 0.5), min(max(values.max(initial=1.0) * 1.2, 1.3), 10.0))
    last = int(losses["step"].max())

    def panel(title: str, cells: list[str]) -> Panel:
        def draw(figure: Figure | SubFigure) -> list[Mark]:
            axes = add_axes(figure, SIZE, (46, 34, 10, 10))
            axes.set_yscale("log")
            axes.set_ylim(*limits)
            ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if limits[0] <= tick <= limits[1]]
            axes.yaxis.set_major_locator(FixedLocator(ticks))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            step_axis(axes, last, study.linear_steps)
            axes.axhline(1, color=MUTED, linewidth=1)
            if all(np.isnan(study.row(cell)["constant_test_accuracy"]) for cell in cells):
                axes.axhline(1 - LEARNED_SHARE, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            for cell in cells:
                part, colour = parts[cell], optimizer_colour(study.optimizer(cell))
                axes.fill_between(
                    part["step"], part["ci_low"].clip(1e-6), part["ci_high"], color=colour, alpha=0.16, lw=0
                )
                axes.plot(part["step"], part["mean"], color=colour)
                if study.row(cell)["n_diverged"]:
                    axes.plot(part["step"].iloc[-1:], part["mean"].iloc[-1:], "x", color=colour, markersize=7)
            axes.set_xlabel("optimizer step")
            axes.set_ylabel("test loss (constant = 1)")
            return []

        alt = f"{title}: test loss divided by the constant predictor's, over optimizer steps; one line per optimizer."
        return Panel(title, title, alt, *SIZE, draw)

    return [panel(title, cells) for title, cells in study.groups.items()]
