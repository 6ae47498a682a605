"""Was the C-NFC of training predicted at initialisation?"""

from typing import Any

import numpy as np

from nfa.conventions import HEADLINE, Convention
from nfa.report.figures import predictions
from nfa.report.numbers import UNDEFINED, interval, number, plural
from nfa.report.page.html import Safe, el
from nfa.report.page.sections import depth_law, early_dynamics
from nfa.report.page.sections.section import Answer, Material, Section, optimizer_legend, panel_row, points_note
from nfa.report.page.sentences import NOT_DEFINED, pooled_note, stated
from nfa.report.page.tables import ENOUGH_POINTS, rank_cell, table
from nfa.report.statistics.rank_correlation import POOLED, by_depth
from nfa.report.statistics.runs import at_convention
from nfa.report.statistics.study import Study


def was_predicted(study: Study, convention: Convention) -> Answer:
    """Compare the C-NFC measured in training with its limit at step 0, which is known before training."""
    table = study.tables["predictions"]
    table = table[(table["layers"] == POOLED) & at_convention(table, convention)]
    if table.empty:
        return Answer(UNDEFINED, NOT_DEFINED)
    records: list[dict[Any, Any]] = table.to_dict("records")
    found = {tuple(row[key] for key in ("data", "predictor", "at", "measure")): row for row in records}
    parts, flows, sizes, shorts = [], [], [], []
    for data in dict.fromkeys(study.cells["data"]):
        here = [row for row in records if (row["data"], row["predictor"]) == (data, "update")]
        if not here:
            continue
        first, last = (_compared(found, data, "update", at) for at in ("first", "last"))
        flow = _compared(found, data, "flow", "last")
        points = "; over ".join(filter(None, (f"{plural(here[0]['n'], 'point')} per seed", here[0]["pooled_over"])))
        sizes.append(f"on {data} ({points})")
        parts.append(
            f"On {data}, the prediction of C-NFC is off by {first} at {_first_steps(study, data)}, the first "
            f"checkpoint, and by {last} at the last step."
        )
        flows.append(f"{flow} on {data}")
        rho, later = (number(found.get((data, "update", at, "rho"), {}).get("mean")) for at in ("first", "last"))
        chance, later_chance = (_control(found, data, "update", at)[1] for at in ("first", "last"))
        shorts.append(f"{data} {rho} at first ({chance} by chance), {later} at last ({later_chance})")
    if not parts:
        return Answer(UNDEFINED, NOT_DEFINED)
    numbers = (
        "The prediction is C-NFC(0+), the limit of C-NFC along the optimizer's first full-batch step, which is known "
        f"before training. The limit along gradient flow is off at the last step by {', '.join(flows)}. Off by: mean "
        "absolute difference over the hidden layers of all cells. ρ: Spearman's rank correlation of predicted and "
        "measured values. By chance: the same with the prediction's control, K turned at random, in place of the "
        "prediction. Numbers are means and 95% intervals over seeds, cut at 0 and at ±1; points of one network "
        f"are not independent.{_batches(study)}"
    )
    context = f"{stated(study, convention)} Measured {', '.join(sizes)}."
    return Answer(f"rank correlation with the prediction: {'; '.join(shorts)}", " ".join(parts), numbers, context)


def _compared(found: dict[tuple[str, ...], dict[Any, Any]], data: str, predictor: str, at: str) -> str:
    """Write the distance of measured from predicted values, and their rank correlation."""
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
    chance = "; by chance {}, ρ = {}".format(*_control(found, data, predictor, at))
    return f"{distance(gap)} (ρ = {order}{words}{chance})"


def _control(found: dict[tuple[str, ...], dict[Any, Any]], data: str, predictor: str, at: str) -> tuple[str, str]:
    """Write the distance and the rank correlation of the prediction's control; n/a at powers other than 1."""
    gap, rho = (found.get((data, predictor, at, measure), {}) for measure in ("difference_control", "rho_control"))
    return number(gap.get("mean"), 3), number(rho.get("mean"))


def distance(row: dict[Any, Any]) -> str:
    """Write a mean absolute difference and its interval, cut at 0."""
    return interval(row["mean"], max(row["ci_low"], 0.0), row["ci_high"], 3)


def _first_steps(study: Study, data: str) -> str:
    """Name the first checkpoints after step 0 of a data set's runs."""
    points = study.predictions
    steps = points.loc[points["data"] == data, "first_step"]
    low, high = int(steps.min()), int(steps.max())
    return f"step {low:,}" if low == high else f"steps {low:,} to {high:,}"


def _batches(study: Study) -> str:
    """Write where training takes mini-batches, because their first step is not the predicted one."""
    cells = study.collected.sweep.cells
    partial = sum(cell.train.batch(cell.shape.n_train) < cell.shape.n_train for cell in cells)
    if not partial:
        return ""
    where = "" if partial == len(cells) else f" in {partial} of {plural(len(cells), 'cell')}"
    return f" Training takes mini-batches{where}, and their first step differs from that of the full batch."


BY_CHANCE = "by chance"
FOUND = ("off by", BY_CHANCE, "ρ", BY_CHANCE)  # columns of each prediction


def prediction_table(study: Study) -> Safe:
    """Tabulate distance and rank correlation of predicted and measured C-NFC, of all layers and by depth."""
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
                chance = [
                    [found.get((data, name, *place, f"{measure}_control"), {}).get("mean") for place in places]
                    for measure in ("difference", "rho")
                ]
                cells = [
                    (
                        el("td", _gap(gap)),
                        el("td", number(apart, 3)),
                        rank_cell(rank, "nothing to compare"),
                        el("td", number(order)),
                    )
                    for gap, rank, apart, order in zip(gaps, ranks, *chance, strict=True)
                ]
                rows.append(el("tr", el("th", data, " · ", shown, scope="row"), el("td", n), cells))
    heads = ("update, first", "update, last", "flow, last")
    names = [f"{who}: {what}" if what != BY_CHANCE else what for who in heads for what in FOUND]
    caption = (
        "Limit C-NFC(0+) along the optimizer's first update, and along gradient flow, against C-NFC at the first "
        "checkpoint after step 0 and at the last: mean absolute difference (off by), and Spearman's ρ over cells; by "
        "chance: the same with the prediction's control, K turned at random, in place of the prediction. "
        f"{HEADLINE.correlation.capitalize()}, power {HEADLINE.power}; mean and 95% interval over seeds, cut at 0 "
        "and at ±1; n: points per seed. Bold: the interval does not contain 0, and n is at least "
        f"{ENOUGH_POINTS}{pooled_note(study)}"
    )
    return table(("layers", "n", *names), rows, caption, cls="numbers")


def _gap(row: dict[Any, Any] | None) -> str:
    """Write the distance of a row that may be missing."""
    return UNDEFINED if row is None else distance(row)


def body(material: Material) -> list[object]:
    """Make the figure of predicted and measured C-NFC, and the table of their distances."""
    study = material.study
    return [
        optimizer_legend(study),
        panel_row("predictions", predictions.panels(study), material.live, cls="panels wide"),
        points_note(
            study,
            "On the dotted line, C-NFC is measured as predicted. The line at each point leads to its control (×): "
            "predicted and measured number with K turned at random. ",
        ),
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
