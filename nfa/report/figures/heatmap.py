"""At which layer? A heat map, for papers, of UC-NFC and its factors in every cell and layer at the last step."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nfa.conventions import HEADLINE
from nfa.report.figures.ansatz import ending
from nfa.report.figures.saving import write_figure
from nfa.report.figures.style import styled
from nfa.report.statistics.study import Study

# Columns of the heat map, and their headings.
QUANTITIES = {
    "directional": "directional factor",
    "directional_haar": "the same by chance",
    "spectral": "spectral factor",
    "uc_nfc": "UC-NFC",
}
LONGEST_LABEL = 70  # characters
WIDEST, FEW_CELLS = 12, 6  # most columns of layers; most columns of cells where layers are rows


def save_heatmap(study: Study, path: Path) -> None:
    """Write the heat map: a row per cell and a column per depth; of few deep networks, a row per layer."""
    if is_tall(study):
        _save_tall(study, path)
        return
    rows, columns = len(study.shown), study.deepest + 1
    labels = [shortened(study.row(cell)["label"]) for cell in study.shown]
    width = 0.4 + 0.07 * max(map(len, labels)) + len(QUANTITIES) * (0.2 + 0.45 * columns)
    with styled():
        figure = Figure(figsize=(width, 0.9 + 0.24 * rows), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"{HEADLINE}", fontsize=8)
        for side, (axes, (quantity, name)) in enumerate(
            zip(figure.subplots(1, len(QUANTITIES), sharey=True), QUANTITIES.items(), strict=True)
        ):
            _draw(axes, final_values(study, quantity))
            axes.set_title(name)
            axes.set_xticks(range(columns), [str(depth) if depth else "out" for depth in range(columns - 1, -1, -1)])
            axes.set_xlabel("layers from the output")
            if not side:
                axes.set_yticks(range(rows), labels, fontsize=7)
        write_figure(figure, path)


def is_tall(study: Study) -> bool:
    """Return True if layers are rows of the heat map: there are many layers, and few cells."""
    return study.deepest + 1 > WIDEST and len(study.shown) <= FEW_CELLS


def _save_tall(study: Study, path: Path) -> None:
    """Write a row per layer, from the input to the output, and a column per cell."""
    rows, columns = study.deepest + 1, len(study.shown)
    labels = [ending(study.place_name(depth)) for depth in range(study.deepest, -1, -1)]
    cells = [shortened(study.row(cell)["label"]) for cell in study.shown]
    width = 0.4 + 0.07 * max(map(len, labels)) + len(QUANTITIES) * max(0.6 * columns, 1.5)
    with styled():
        figure = Figure(figsize=(width, 0.9 + 0.2 * rows), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"{HEADLINE}" + (f"; {cells[0]}" if columns == 1 else ""), fontsize=8)
        columns_of_axes = figure.subplots(1, len(QUANTITIES), sharey=True)
        for axes, (quantity, name) in zip(columns_of_axes, QUANTITIES.items(), strict=True):
            _draw(axes, final_values(study, quantity).T)
            axes.set_title(name)
            named = range(columns) if columns > 1 else ()
            axes.set_xticks(named, [cells[place] for place in named], fontsize=7, rotation=90)
            axes.set_yticks(range(rows), labels, fontsize=7)
        write_figure(figure, path)


def _draw(axes: Axes, values: np.ndarray) -> None:
    """Draw values from 0 to 1 as colours, with their numbers."""
    axes.imshow(values, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
        value = values[row, column]
        colour = "white" if value < 0.55 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    axes.grid(False)


def shortened(label: str) -> str:
    """Cut a label to ``LONGEST_LABEL`` letters, so that it leaves room for the heat map."""
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def final_values(study: Study, quantity: str) -> np.ndarray:
    """Return the (cells, depths) means at the last step in the headline convention; the readout is the last column."""
    values = np.full((len(study.shown), study.deepest + 1), np.nan)
    for row, cell in enumerate(study.shown):
        for _, index, depth in study.layers(cell):
            curve = study.curve(cell, quantity, index, HEADLINE)
            if len(curve.step):
                values[row, study.deepest - depth] = curve.mean[-1]
    return values
