"""Was the C-NFC of training predicted at initialisation?"""

from typing import Any

import numpy as np

from nfa.conventions import HEADLINE, Convention
from nfa.report.figures import predicted
from nfa.report.numbers import UNDEFINED, interval, number, plural
from nfa.report.page.html import Safe, el
from nfa.report.page.sections import depth_law, early_dynamics
from nfa.report.page.sections.section import Answer, Material, Section, marker_legend, optimizer_legend, panel_row
from nfa.report.page.sentences import NOT_DEFINED, stated
from nfa.report.page.tables import ENOUGH_POINTS, rank_cell, table
from nfa.report.statistics.rank_correlation import POOLED, by_depth
from nfa.report.statistics.runs import at_convention
from nfa.report.statistics.study import Study


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
        f"{ENOUGH_POINTS}){study.pooled_note()}"
    )
    return table(("layers", "n", *names), rows, caption, cls="numbers")


def _gap(row: dict[Any, Any] | None) -> str:
    return UNDEFINED if row is None else distance(row)


def body(material: Material) -> list[object]:
    """Make the figure of predicted and measured C-NFC, and the table of their distances."""
    study = material.study
    points = (
        f"A point is a hidden layer of a cell, mean over seeds: {marker_legend(study)}. Dotted: measured as predicted. "
        f"Headline convention ({HEADLINE})."
    )
    return [
        optimizer_legend(study),
        panel_row("predicted", predicted.panels(study), material.live, cls="panels wide"),
        el("p", points, cls="note"),
        prediction_table(study),
    ]


SECTION = Section(
    anchor="theory",
    name="theory",
    question="Was it predicted at initialisation?",
    answer=lambda material, convention: was_predicted(material.study, convention),
    body=body,
    below=(depth_law.SECTION, early_dynamics.SECTION),
)
