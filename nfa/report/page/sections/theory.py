"""The sentences about theory: what was predicted before training, and the depth law; honest about where it fails."""

from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import HEADLINE, READOUT, Convention
from nfa.report.figures import depth_law, early, predicted
from nfa.report.numbers import UNDEFINED, interval, number, plural, significant
from nfa.report.page.answers import Answer, pooled, pooled_note, seed_mean, stated
from nfa.report.page.html import Safe, el
from nfa.report.page.live import live_text
from nfa.report.page.sections.section import (
    Section,
    layer_legend,
    lead,
    live_lead,
    make_section,
    marker_legend,
    optimizer_legend,
    panel_row,
)
from nfa.report.page.svg import Live
from nfa.report.page.tables import ENOUGH_POINTS, rank_cell, row_head, table
from nfa.report.statistics.departure_time import SHARE
from nfa.report.statistics.early_dynamics import NORMS, ORDERS, in_headline
from nfa.report.statistics.labels import name_list, quantity_labels
from nfa.report.statistics.rank_correlation import POOLED, by_depth
from nfa.report.statistics.runs import at_convention
from nfa.report.statistics.study import Study

NOT_FOLLOWED = (
    "Not followed in this sweep. With measure: {early: 500} in its file, it is for cells of plain SGD: no momentum, "
    "decay or clipping, and backpropagation."
)
NOT_DEFINED = "No finished run has a hidden layer in which this is defined, so there is no answer."
CLOSE = 0.01  # a power whose correlation is within this of the best is as good as it


def was_predicted(study: Study, convention: Convention) -> Answer:
    """Was the C-NFC of training predicted at initialisation?"""
    table = study.tables["predictions"]
    table = table[(table["layers"] == POOLED) & at_convention(table, convention)]
    if table.empty:
        return Answer(UNDEFINED, NOT_DEFINED)
    records: list[dict[Any, Any]] = table.to_dict("records")
    found = {tuple(row[key] for key in ("data", "predictor", "at", "measure")): row for row in records}
    parts, shorts = [], []
    for data in dict.fromkeys(study.cells["data"]):
        here = [row for row in records if (row["data"], row["predictor"]) == (data, "update")]
        if not here:
            continue
        first, last = (_compared(found, data, "update", at) for at in ("first", "last"))
        flow = _compared(found, data, "flow", "last")
        points = "; over ".join(filter(None, (f"{plural(here[0]['n'], 'point')} per seed", here[0]["pooled_over"])))
        parts.append(
            f"on {data} ({points}) it is off by {first} at {_first_steps(study, data)}, the first "
            f"checkpoint, and by {last} at the last step; gradient flow's limit is off by {flow} there"
        )
        rho, later = (number(found.get((data, "update", at, "rho"), {}).get("mean")) for at in ("first", "last"))
        shorts.append(f"{data} ρ = {rho} at first, {later} at last")
    if not parts:
        return Answer(UNDEFINED, NOT_DEFINED)
    text = (
        f"{stated(study, convention)}: C-NFC(0+), the limit along each optimizer's first full-batch step, is known "
        f"before training. Against the C-NFC measured, over cells and hidden layers: {'; '.join(parts)}. "
        "Off by: mean absolute difference; ρ: Spearman's; mean and 95% interval over seeds, cut at 0 and at ±1; points "
        "of one network are not independent."
    )
    return Answer("; ".join(shorts), f"{text}{_batches(study)}")


def _compared(found: dict[tuple[str, ...], dict[Any, Any]], data: str, predictor: str, at: str) -> str:
    """Say how far measured values are from predicted ones, and whether they are in the same order."""
    gap, rho = (found.get((data, predictor, at, measure)) for measure in ("difference", "rho"))
    if gap is None or rho is None:
        return UNDEFINED
    order = UNDEFINED if not np.isfinite(rho["mean"]) else interval(rho["mean"], rho["ci_low"], rho["ci_high"], bound=1)
    words = ""
    if np.isfinite(rho["ci_low"]):
        words = ", no evidence of the same order" if rho["ci_low"] <= 0 <= rho["ci_high"] else ""
        words = ", in the opposite order" if rho["ci_high"] < 0 else words
    elif rho["note"]:
        words = f", {rho['note']}"
    return f"{distance(gap)} (ρ = {order}{words})"


def distance(row: dict[Any, Any]) -> str:
    """Show a mean absolute difference and its interval, cut at 0."""
    return interval(row["mean"], max(row["ci_low"], 0.0), row["ci_high"], 3)


def _first_steps(study: Study, data: str) -> str:
    """Name the first checkpoints after step 0 of a data set's runs."""
    points = study.predictions
    steps = points.loc[points["data"] == data, "first_step"]
    low, high = int(steps.min()), int(steps.max())
    return f"step {low:,}" if low == high else f"steps {low:,} to {high:,}"


def _batches(study: Study) -> str:
    """Say where training takes mini-batches: their first step is another one."""
    cells = study.collected.sweep.cells
    partial = sum(cell.train.batch(cell.shape.n_train) < cell.shape.n_train for cell in cells)
    if not partial:
        return ""
    where = "" if partial == len(cells) else f" in {partial} of {plural(len(cells), 'cell')}"
    return f" Training takes mini-batches{where}, whose first step is not the full batch's."


def which_power(study: Study, convention: Convention) -> Answer:
    """Which power of the AGOP fits each layer best?"""
    points = study.depth_law
    points = points[(points["correlation"] == convention.correlation) & (points["depth_from_output"] != READOUT)]
    points = points.dropna(subset=["power", "fit"])
    if points.empty:
        return Answer(UNDEFINED, NOT_DEFINED)
    fit, one = (seed_mean(study, points, column) for column in ("fit", "fit_at_1"))
    lead = (
        f"{convention.correlation.capitalize()} ({study.measured_with}): the power of the AGOP that fits the NFM best "
        f"has a correlation of {fit} with it on average over hidden layers at the last step, against {one} at power 1"
    )
    layers = points.groupby(["cell", "layer", "depth_from_output"], observed=True)[
        ["power", "fit", "law", "fit_at_law"]
    ].mean()
    known = layers.dropna(subset=["law", "fit_at_law"])
    over = pooled(study, points["cell"])
    if known.empty:
        text = f"{lead}.{over} The depth law is of chains of layers: none is here."
        return Answer("no law for branching networks", text)
    good = int((known["fit"] - known["fit_at_law"] <= CLOSE).sum())
    ratio = known["power"] / known["law"]
    middle = [number(float(value)) for value in np.quantile(ratio, [0.5, 0.25, 0.75])]
    law = seed_mean(study, points.dropna(subset=["law"]), "fit_at_law")
    medians: dict[Any, float] = known.groupby("depth_from_output")["power"].median().to_dict()
    by_depth = [f"{depth} from the output {number(power)} (law: 1/{depth + 1})" for depth, power in medians.items()]
    text = (
        f"{lead} and {law} at the depth law's 1/(L − l + 1). The law's power is as good as the best, within {CLOSE:g}, "
        f"in {good} of {plural(len(known), 'hidden layer')} (means over seeds); the best power is {middle[0]} x the "
        f"law's in the median layer (quartiles {middle[1]} and {middle[2]}). Median by depth: "
        f"{name_list(by_depth, 8)}.{over} The law is exact for deep linear networks from balanced initialisation alone."
    )
    return Answer(f"law as good as the best power in {good} of {len(known)} layers", text)


def early_dynamics(study: Study) -> Answer:
    """Until when do the two orders hold?"""
    left = in_headline(study.tables["early_departure"])
    left = left[(left["note"] != "undefined") & left["cell"].isin(study.shown)]
    if left.empty:
        return Answer(UNDEFINED, NOT_FOLLOWED)
    names = {**NORMS, **quantity_labels(["c_nfc"])}
    parts = [f"{name}: {_orders(left[left['quantity'] == quantity])}" for quantity, name in names.items()]
    samples = study.collected.sweep.measure.early
    cells, seeds = left["cell"].nunique(), left["seed"].nunique()
    text = (
        f"Along gradient flow on at most {samples:,} training samples ({plural(cells, 'cell')} of plain SGD, "
        f"{plural(seeds, 'seed')}; C-NFC: {HEADLINE}), a prediction from the initial weights leaves what is measured, "
        f"by more than {SHARE:.0%}, in the median layer and seed after this many steps of the learning rate in use — "
        f"{'; '.join(parts)}.{pooled(study, left['cell'])} Mini-batches add noise that no prediction here has."
    )
    return Answer("", text)


def _orders(left: pd.DataFrame) -> str:
    """Give the median step of both orders; a curve that does not leave counts as later than all that do."""
    return ", ".join(f"{order} order {_median(left[left['order'] == order])}" for order in ORDERS)


def _median(left: pd.DataFrame) -> str:
    stays = int(left["steps"].isna().sum())
    middle = float(left["steps"].fillna(np.inf).median())
    if not np.isfinite(middle):
        return f"not in the time followed ({stays} of {len(left)} curves stay)"
    return f"{significant(middle, 2)}" + (f" ({stays} of {len(left)} curves stay)" if stays else "")


def theory_section(study: Study, live: Live) -> Section:
    """Answers, figures and tables of what theory predicts."""
    shapes = marker_legend(study)
    points = (
        f"A point is a hidden layer of a cell, mean over seeds: {shapes}. Dotted: measured as predicted. Headline "
        f"convention ({HEADLINE})."
    )
    powers = (
        "Dots: the best power, mean over seeds; bars: the powers at which the correlation is within 0.01 of the best "
        "(no interval over seeds). Grey: 1/(L − l + 1). The readout has K = I, so that its best power "
        "is 1; with one output all powers of its AGOP are alike, and there is none."
    )
    return make_section(
        "theory",
        "theory",
        "Was it predicted at initialisation?",
        live_lead(study, live, was_predicted),
        optimizer_legend(study),
        panel_row("predicted", predicted.panels(study), live, cls="panels wide"),
        el("p", points, cls="note"),
        prediction_table(study),
        el("h3", "Depth law: which power of the AGOP fits each layer?"),
        live_lead(study, live, which_power),
        panel_row("law", depth_law.panels(study), live),
        el("p", powers, cls="note"),
        depth_law_table(study, live),
        el("h3", "Early dynamics: until when does the prediction hold?"),
        lead(early_dynamics(study)),
        early_panels(study, live),
        short=was_predicted(study, HEADLINE).short,
    )


def early_panels(study: Study, live: Live) -> list[Safe]:
    """Show the early dynamics of each data and model that was followed."""
    blocks = []
    for index, (group, panels) in enumerate(early.panels(study).items()):
        blocks += [el("h4", group), panel_row(f"early{index}", panels, live)]
    if not blocks:
        return []
    note = (
        "● measured along gradient flow  ╌ leading order: C-NFC stays at its limit  — next order  ❘ where a line is "
        f"first off by more than {SHARE:.0%} of the measured value. One seed; norms are Frobenius norms, W̄ = W − W0; "
        f"C-NFC: {HEADLINE}."
    )
    return [layer_legend(study), *blocks, el("p", note, cls="note")]


def prediction_table(study: Study) -> Safe:
    """Predicted against measured C-NFC: distance and rank correlation, pooled and by depth from the output."""
    table_of = study.tables["predictions"]
    records: list[dict[Any, Any]] = table_of[at_convention(table_of, HEADLINE)].to_dict("records")
    keys = ("data", "layers", "predictor", "at", "measure")
    found = {tuple(row[key] for key in keys): row for row in records}
    layers = {POOLED: POOLED} | {by_depth(depth): f"{depth} from the output" for depth in range(1, study.deepest + 1)}
    rows = []
    for data in dict.fromkeys(study.cells["data"]):
        for name, shown in layers.items():
            places = [("update", "first"), ("update", "last"), ("flow", "last")]
            gaps = [found.get((data, name, *place, "difference")) for place in places]
            n = next((row["n"] for row in gaps if row), None)
            if n is not None:
                ranks = [found.get((data, name, *place, "rho")) for place in places]
                cells = [
                    (el("td", _gap(gap)), rank_cell(rank, "nothing to compare"))
                    for gap, rank in zip(gaps, ranks, strict=True)
                ]
                rows.append(el("tr", el("th", data, " · ", shown, scope="row"), el("td", n), cells))
    heads = ("update, first", "update, last", "flow, last")
    names = [f"{who}: {what}" for who in heads for what in ("off by", "ρ")]
    caption = (
        "C-NFC(0+) along the optimizer's first update, and of gradient flow, against C-NFC at the first checkpoint "
        "after step 0 and at the last: mean absolute difference, and Spearman's ρ over cells "
        f"({HEADLINE}; mean and 95% interval over seeds, cut at 0 and at ±1; bold: without 0, and n at least "
        f"{ENOUGH_POINTS}){pooled_note(study)}"
    )
    return table(("layers", "n", *names), rows, caption, cls="numbers")


def _gap(row: dict[Any, Any] | None) -> str:
    return UNDEFINED if row is None else distance(row)


def depth_law_table(study: Study, live: Live) -> Safe:
    """Best power of every cell and layer, with its fit, beside the depth law's."""
    depths = range(study.deepest, -1, -1)
    rows = []
    for cell in study.shown:
        layers = {depth: (name, index) for name, index, depth in study.layers(cell)}
        cells = [
            _best_power_cell(study, live, cell, *layers[depth]) if depth in layers else el("td") for depth in depths
        ]
        rows.append(el("tr", row_head(study, cell), cells))
    names = [f"{depth} (law 1/{depth + 1})" if depth else "out (law 1)" for depth in depths]
    caption = (
        "Best power of the AGOP at the last step, by layers from the output, and the correlation there; mean over "
        "finished seeds; a number's tooltip has its range within 0.01, and the cosine at the law's power and at 1"
    )
    return table(("cell", *names), rows, caption, cls="numbers")


def _best_power_cell(study: Study, live: Live, cell: str, layer: str, index: int) -> Safe:
    def text(convention: Convention) -> str:
        row = study.best_power(cell, index, convention.correlation)
        if row is None or not np.isfinite(row["power"]):
            return UNDEFINED
        return f"{number(row['power'])} (ρ {number(row['fit'])})"

    def tip(convention: Convention) -> str:
        row = study.best_power(cell, index, convention.correlation)
        if row is None or not np.isfinite(row["power"]):
            return f"{layer}: undefined: no run finished, or all powers of the AGOP are alike"
        return (
            f"{layer}: within 0.01 from {number(row['low'])} to {number(row['high'])}; "
            f"ρ {number(row['fit_at_law'])} at the law's power, {number(row['fit_at_1'])} at 1"
        )

    return live_text(live, "td", text, title=tip(HEADLINE))
