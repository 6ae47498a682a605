"""At which layer: UC-NFC and C-NFC of every cell and layer at the last step, as a figure for papers."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nfa.report.conventions import HEADLINE
from nfa.report.figures.curves import QUANTITIES
from nfa.report.figures.panels import write_figure
from nfa.report.figures.style import styled
from nfa.report.study import Study

LONGEST_LABEL = 70  # characters


def save_heatmap(study: Study) -> None:
    """Write figures/heatmap: cells x depth from the output."""
    rows, columns = len(study.shown), study.deepest + 1
    labels = [shortened(study.row(cell)["label"]) for cell in study.shown]
    width = 0.4 + 0.07 * max(map(len, labels)) + 1.0 * columns
    with styled():
        figure = Figure(figsize=(width, 0.9 + 0.24 * rows), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        for side, (axes, (quantity, name)) in enumerate(
            zip(figure.subplots(1, 2, sharey=True), QUANTITIES.items(), strict=True)
        ):
            values = final_values(study, quantity)
            axes.imshow(values, vmin=0, vmax=1, cmap="cividis", aspect="auto")
            for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
                value = values[row, column]
                colour = "white" if value < 0.55 else "black"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
            axes.set_title(f"{name} ({HEADLINE})")
            axes.set_xticks(range(columns), [str(depth) if depth else "out" for depth in range(columns - 1, -1, -1)])
            axes.set_xlabel("layers from the output")
            axes.grid(False)
            if not side:
                axes.set_yticks(range(rows), labels, fontsize=7)
        write_figure(figure, study.paths.figures / "heatmap")


def shortened(label: str) -> str:
    """Cut a label that would leave no room for what it labels."""
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def final_values(study: Study, quantity: str) -> np.ndarray:
    """Return the (cells, depths) means at the last step, in the headline convention; the readout is the last column."""
    values = np.full((len(study.shown), study.deepest + 1), np.nan)
    for row, cell in enumerate(study.shown):
        for _, index, depth in study.layers(cell):
            series = study.series(cell, quantity, index, HEADLINE)
            if len(series.step):
                values[row, study.deepest - depth] = series.mean[-1]
    return values
