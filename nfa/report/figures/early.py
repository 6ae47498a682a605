"""Early training along gradient flow: norms of the centred matrices and C-NFC over time, predicted and measured."""

import json
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, NullLocator

from nfa.report.figures.panels import Mark, Panel, add_axes
from nfa.report.figures.style import MUTED, layer_colour, nfc_limits
from nfa.report.statistics.early_dynamics import NORMS, ORDERS, QUANTITIES, in_headline
from nfa.report.statistics.study import Study

SIZE = (300.0, 200.0)
# Ticks of norms divided by their leading order: over a wide range, and near 1.
WIDE = [0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000]
NEAR = [0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.2, 1.5, 2, 3, 4]
LINES: dict[str, Any] = {"leading": (0, (3, 2)), "next": "-"}


def panels(study: Study) -> dict[str, list[Panel]]:
    """Make three panels per data and model, of the first seed: both norms over their leading order, and C-NFC.

    Cells that differ in the learning rate alone follow the same flow, so the first of them is shown. Cells of different
    losses follow different flows, so each loss has its own panels.
    """
    curves, departures = in_headline(study.collected.early), in_headline(study.tables["early_departure"])
    followed, found = set(curves["cell"]), {}
    for group, cells in study.groups.items():
        flows = _flows(study, [cell for cell in cells if cell in followed])
        for cell in flows:
            seed = curves.loc[curves["cell"] == cell, "seed"].iloc[0]
            run, left = (table[(table["cell"] == cell) & (table["seed"] == seed)] for table in (curves, departures))
            title = group if len(flows) == 1 else f"{group} · {study.row(cell)['optimizer']}"
            found[title] = [
                _panel(study, title, quantity, *(table[table["quantity"] == quantity] for table in (run, left)))
                for quantity in QUANTITIES
            ]
    return found


def _flows(study: Study, cells: list[str]) -> list[str]:
    """Choose the first cell of each flow: of cells with the same data, model and loss."""
    first: dict[str, str] = {}
    for cell in cells:
        settings = study.collected.sweep.by_id[cell].parameters()
        loss = {key: settings["train"][key] for key in ("loss", "decoupling")}
        first.setdefault(json.dumps([settings["data"], settings["model"], loss]), cell)
    return list(first.values())


def _panel(study: Study, group: str, quantity: str, curves: pd.DataFrame, departures: pd.DataFrame) -> Panel:
    norm = quantity in NORMS
    heading = f"{QUANTITIES[quantity]} over its leading order, ∝ t²" if norm else "C-NFC"

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        axes = add_axes(figure, SIZE, (36, 34, 12, 10))
        times, top, bottom = curves["t"].to_numpy(), 1.2, 0.8 if norm else 0.0
        left = departures[departures["note"] == ""]
        for layer, curve in curves.groupby("layer_index", sort=True):
            colour = layer_colour(int(curve["depth_from_output"].iloc[0]), study.deepest)
            t, measured = curve["t"].to_numpy(), curve["measured"].to_numpy()
            unit = curve["leading"].to_numpy() if norm else np.ones(len(t))
            top, bottom = (float(f([edge, *(measured / unit)])) for f, edge in ((np.nanmax, top), (np.nanmin, bottom)))
            for order in ORDERS:
                values = curve[order].to_numpy() / unit
                axes.plot(t, values, color=colour, linestyle=LINES[order], linewidth=1.2)
                for time in left.loc[(left["layer_index"] == layer) & (left["order"] == order), "t"]:
                    style: dict[str, Any] = {"color": colour, "markersize": 11, "markeredgewidth": 1.6}
                    axes.plot([time], [np.interp(time, t, values)], "|", **style)
            axes.plot(t, measured / unit, "o", color=colour, markersize=3, alpha=0.75, linewidth=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(times.min() / 1.1, times.max() * 1.1)
        if norm:
            axes.set_yscale("log")
            ratios = WIDE if top > 4 * bottom else NEAR
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_yticks(ratios, [f"{ratio:g}" for ratio in ratios])
            axes.axhline(1, color=MUTED, linewidth=0.7)
        axes.set_ylim(*((bottom / 1.1, 1.1 * top) if norm else nfc_limits(bottom)))
        axes.set_xlabel("time t = learning rate × steps")
        return []

    alt = f"{group}: {heading} of each layer over training time, predicted to two orders and measured."
    return Panel(f"{group}: {heading}", heading, alt, *SIZE, draw)
