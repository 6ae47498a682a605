"""Which power of the AGOP fits each layer best?"""

from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import HEADLINE, READOUT, Convention
from nfa.report.figures import depth_law
from nfa.report.numbers import UNDEFINED, number, plural
from nfa.report.page.html import Safe, el
from nfa.report.page.live import live_text
from nfa.report.page.sections.section import Answer, Material, Section, panel_row
from nfa.report.page.sentences import NOT_DEFINED, pooled, seed_mean, stated
from nfa.report.page.svg import Live
from nfa.report.page.tables import row_head, table
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.predictions import power_of_slope
from nfa.report.statistics.study import Study

CLOSE = 0.01  # of the best correlation: a power that comes so near counts as equally good


def which_power(study: Study, convention: Convention) -> Answer:
    """Count the layers in which the depth law's power of the AGOP fits as well as the best power."""
    points = study.depth_law
    points = points[(points["correlation"] == convention.correlation) & (points["depth_from_output"] != READOUT)]
    points = points.dropna(subset=["power", "fit"])
    if points.empty:
        return Answer(UNDEFINED, NOT_DEFINED)
    fit, one = (seed_mean(study, points, column) for column in ("fit", "fit_at_1"))
    layers = points.groupby(["cell", "layer", "depth_from_output"], observed=True)[
        ["power", "fit", "law", "fit_at_law", "slope"]
    ].mean()
    known = layers.dropna(subset=["law", "fit_at_law"])
    best = (
        f"On average over hidden layers at the last step, the correlation of the NFM with the AGOP raised to the best "
        f"power is {fit}"
    )
    end = f"{stated(study, f'{convention.correlation}, all powers')}{pooled(study, points['cell'])}"
    if known.empty:
        verdict = "The depth law is about chains of layers, and no network here is one."
        return Answer(
            "no law for branching networks", verdict, f"{best}, with power 1 it is {one}.{_of_slopes(layers)}", end
        )
    good = int((known["fit"] - known["fit_at_law"] <= CLOSE).sum())
    ratio = known["power"] / known["law"]
    middle = [number(float(value)) for value in np.quantile(ratio, [0.5, 0.25, 0.75])]
    law = seed_mean(study, points.dropna(subset=["law"]), "fit_at_law")
    medians: dict[Any, float] = known.groupby("depth_from_output")["power"].median().to_dict()
    by_depth = [f"{depth} from the output {number(power)} (law: 1/{depth + 1})" for depth, power in medians.items()]
    verdict = (
        f"The depth law's power fits the NFM as well as the best power, within {CLOSE:g} of its correlation, in "
        f"{good} of {plural(len(known), 'hidden layer')} (means over seeds)."
    )
    numbers = (
        "The law says that the NFM of layer l of L is proportional to the AGOP to the power 1/(L − l + 1); it is "
        f"exact only for deep linear networks from balanced initialisation. {best}, with the law's power {law}, with "
        f"power 1 {one}. The best power is {middle[0]} times the law's in the median layer (quartiles {middle[1]} "
        f"and {middle[2]}). Median of the best power by depth: {name_list(by_depth, 8)}.{_of_slopes(layers)}"
    )
    return Answer(f"law as good as the best power in {good} of {plural(len(known), 'layer')}", verdict, numbers, end)


def _of_slopes(layers: pd.DataFrame) -> str:
    """Compare the power that the slope of K's spectrum gives with the best one; empty where no slope is known."""
    known = layers.assign(slope_power=power_of_slope(layers["slope"])).dropna(subset=["slope_power", "power"])
    if known.empty:
        return ""
    ratio = (known["slope_power"] / known["power"]).quantile([0.5, 0.25, 0.75])
    middle, low, high = (number(float(value)) for value in ratio)
    slopes: dict[Any, float] = known.groupby("depth_from_output")["slope"].median().to_dict()
    by_depth = [f"{depth} from the output {number(slope)} (law: {depth})" for depth, slope in slopes.items()]
    return (
        " A second estimate needs no search: where K's weight on W's directions grows with their squared singular "
        f"values to the power p, the power 1/(1 + p) of the AGOP has the strengths of the NFM. It is {middle} times "
        f"the best power in the median layer (quartiles {low} and {high}). Median of p by depth: "
        f"{name_list(by_depth, 8)}."
    )


def depth_law_table(study: Study, live: Live) -> Safe:
    """Tabulate the best power of every cell and layer, its correlation and the depth law's power."""
    depths = range(study.deepest, -1, -1)
    rows = []
    for cell in study.shown:
        layers = {depth: (name, index) for name, index, depth in study.layers(cell)}
        cells = [
            _best_power_cell(study, live, cell, *layers[depth]) if depth in layers else el("td") for depth in depths
        ]
        rows.append(el("tr", row_head(study, cell), cells))
    names = [f"{depth} (law 1/{depth + 1})" if depth else "readout (law 1)" for depth in depths]
    caption = (
        "Best power of the AGOP at the last step, and after the line the power 1/(1 + p) by the slope p of K's "
        "spectrum; by distance from the output; mean over the seeds that finished. Hover over a number for the "
        f"correlation there, for the powers within {CLOSE:g} of the best, for p, and for the correlations at the law's "
        "power and at power 1"
    )
    return table(("cell", *names), rows, caption, cls="numbers")


def _best_power_cell(study: Study, live: Live, cell: str, layer: str, index: int) -> Safe:
    """Make one entry of the table of best powers, with a tooltip."""

    def text(convention: Convention) -> str:
        row = study.best_power(cell, index, convention.correlation)
        if row is None or not np.isfinite(row["power"]):
            return UNDEFINED
        return f"{number(row['power'])} | {number(row['slope_power'])}"

    def tip(convention: Convention) -> str:
        row = study.best_power(cell, index, convention.correlation)
        if row is None or not np.isfinite(row["power"]):
            return f"{layer}: undefined: no run finished, or all powers of the AGOP are alike"
        return (
            f"{layer}: ρ {number(row['fit'])} at the best power; within {CLOSE:g} from {number(row['low'])} to "
            f"{number(row['high'])}; ρ {number(row['fit_at_law'])} at the law's power, {number(row['fit_at_1'])} at 1; "
            f"p {number(row['slope'])}"
        )

    return live_text(live, "td", text, title=tip(HEADLINE))


def body(material: Material) -> list[object]:
    """Make the figure and the table of best powers."""
    study = material.study
    powers = (
        f"Dots: best power, mean over seeds. Bars: all powers whose correlation is within {CLOSE:g} of the best; they "
        "are no intervals over seeds. Hollow diamonds: 1/(1 + p), p the slope of K's spectrum. Grey: the law's power "
        "1/(L − l + 1). At the readout K = I, so that its best power is 1 by definition; with a single output all "
        "powers of its AGOP are alike, and there is no best one."
    )
    return [
        panel_row("law", depth_law.panels(study), material.live),
        el("p", powers, cls="note"),
        depth_law_table(study, material.live),
    ]


SECTION = Section(
    anchor="depth-law",
    name="depth law",
    question="Depth law: which power of the AGOP fits each layer?",
    answer=lambda material, convention: which_power(material.study, convention),
    body=body,
)
