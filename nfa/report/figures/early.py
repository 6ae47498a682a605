"""Early training: the centred matrices' norms and C-NFC over time, predicted and measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nfa.report.conventions import HEADLINE
from nfa.report.figures.panels import DOTS_PER_INCH
from nfa.report.figures.style import INK, MUTED, layer_colour, styled
from nfa.tables import replacing
from nfa.theory import departure

QUANTITIES = {"centred_nfm_norm": "|W̄ᵀW̄|", "centred_agop_norm": "|W̄ᵀKW̄|", "c_nfc": f"C-NFC ({HEADLINE.correlation})"}
SIZE = (9.4, 3.3)  # inches
LINES: dict[str, Any] = {"leading": (0, (3, 2)), "next": "-"}
SHARE = 0.1


def write_early_dynamics(path: Path, predicted: pd.DataFrame, measured: pd.DataFrame) -> None:
    """Draw predicted over measured curves as a PNG, whole or not at all.

    Dots are measured, dashes the leading order, lines the next one; a tick on a line is where it leaves the measured
    values by more than 10%.

    Args:
        path: The PNG file.
        predicted: From ``nfa.theory.early_dynamics``.
        measured: From ``nfa.theory.measured_dynamics``, at the same times.
    """
    left = departure(predicted, measured, SHARE)
    with styled():
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (quantity, name) in zip(figure.subplots(1, len(QUANTITIES)), QUANTITIES.items(), strict=True):
            _draw(axes, *(_of(frame, quantity) for frame in (predicted, measured, left)))
            axes.set_title(name)
            axes.set_xscale("log")
            axes.set_xlabel("time t = lr · steps")
            if quantity == "c_nfc":
                axes.set_ylim(min(-0.02, float(_of(measured, quantity)["value"].min()) - 0.05), 1.03)
            else:
                axes.set_yscale("log")
        figure.legend(handles=_legend(measured), loc="outside lower center", ncols=8)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})


def _of(frame: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Take one quantity's rows, a correlation in the headline convention."""
    rows = frame[frame["quantity"] == quantity]
    return rows[rows["correlation"].isna() | (rows["correlation"] == HEADLINE.correlation)]


def _draw(axes: Axes, predicted: pd.DataFrame, measured: pd.DataFrame, left: pd.DataFrame) -> None:
    for _, dots in measured.groupby("layer", sort=False):
        colour = layer_colour(int(dots["depth_from_output"].iloc[0]))
        axes.plot(dots["t"], dots["value"], "o", color=colour, markersize=3, alpha=0.75, linewidth=0)
    for (layer, source), line in predicted.groupby(["layer", "source"], sort=False):
        colour = layer_colour(int(line["depth_from_output"].iloc[0]))
        axes.plot(line["t"], line["value"], color=colour, linestyle=LINES[str(source)], linewidth=1.2)
        leaves = left.loc[(left["layer"] == layer) & (left["source"] == source), "t"].item()
        if np.isfinite(leaves):
            height = np.interp(leaves, line["t"], line["value"])
            axes.plot([leaves], [height], "|", color=colour, markersize=11, markeredgewidth=1.6)


def _legend(measured: pd.DataFrame) -> list[Line2D]:
    layers = measured[["layer", "depth_from_output"]].drop_duplicates().itertuples(index=False)
    return [
        *(Line2D([], [], color=layer_colour(int(depth)), label=str(layer)) for layer, depth in layers),
        Line2D([], [], color=INK, marker="o", markersize=3, linewidth=0, label="measured"),
        *(
            Line2D([], [], color=INK, linestyle=style, linewidth=1.2, label=f"{name} order")
            for name, style in LINES.items()
        ),
        Line2D([], [], color=MUTED, marker="|", markersize=9, linewidth=0, label=f"off by {SHARE:.0%}"),
    ]
