"""Did the sweep train?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import LEARNED_BELOW, LEARNED_RULE
from nfa.report.figures import training
from nfa.report.numbers import loss_with_interval, number, plural, plus_minus, significant
from nfa.report.page.html import Safe, el
from nfa.report.page.sections.section import Answer, Material, Section, left_out, optimizer_legend, panel_row
from nfa.report.page.sentences import pooled
from nfa.report.page.tables import row_head, state, table
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.study import Study


def trained(study: Study) -> Answer:
    """Did the sweep train?"""
    cells, runs = study.cells, study.tables["runs"]
    learned = int(cells["learned"].sum())
    sentence = (
        f"{learned} of {plural(len(cells), 'cell')} learned, {int(runs['learned'].sum())} of "
        f"{plural(len(runs), 'run')}. "
        f"A run learned if it finished and {LEARNED_RULE}."
    )
    finished = runs[runs["status"] == "finished"]
    ratio = (finished["test_loss"] / finished["constant_test_loss"]).groupby(finished["cell"], sort=False).mean()
    if len(ratio):
        sentence += (
            f" The final test loss is {number(ratio.median())} x the constant predictor's in the median cell"
            f" ({number(ratio.min())} to {number(ratio.max())})"
        )
        accuracy = cells.dropna(subset=["test_accuracy"]).groupby("data", sort=False)
        sentence += "".join(
            f"; test accuracy on {data} is {number(part['test_accuracy'].min(), 3)} to "
            f"{number(part['test_accuracy'].max(), 3)}"
            f" (constant: {number(part['constant_test_accuracy'].mean(), 3)})"
            for data, part in accuracy
        )
        sentence += f".{pooled(study, finished['cell'])}"
    sentence += _named("Diverged", cells[cells["n_diverged"] > 0], "n_diverged")
    weak = cells.assign(n_weak=cells["n_seeds"] - cells["n_learned"] - cells["n_diverged"])
    sentence += _named("Did not learn", weak[weak["n_weak"] > 0], "n_weak")
    counts = {"with a run that diverged": cells["n_diverged"] > 0, "with a run that did not learn": weak["n_weak"] > 0}
    failed = "".join(f"; {int(which.sum())} {what}" for what, which in counts.items() if which.any())
    return Answer(f"{learned} of {plural(len(cells), 'cell')} learned{failed}", sentence)


def _named(what: str, cells: pd.DataFrame, count: str) -> str:
    """Name the cells to which something happened, with the number of their runs."""
    if cells.empty:
        return ""
    rows: list[dict[Any, Any]] = cells.to_dict("records")
    names = (f"{row['label']} ({row[count]} of {plural(row['n_seeds'], 'run')})" for row in rows)
    return f" {what}: {name_list(names)}."


def training_table(study: Study) -> Safe:
    """Final losses and accuracies beside the constant predictor's."""
    rows = []
    for cell in study.shown:
        row = study.row(cell)
        constant = row["constant_test_loss"]
        ratio = row["test_loss"] / constant if constant else np.nan  # a target that does not vary
        bar = (
            ""
            if not np.isfinite(ratio)
            else el("span", cls="bar", style=f"--w:{min(ratio, 1):.1%};--mark:{LEARNED_BELOW:.0%}")
        )
        rows.append(
            el(
                "tr",
                row_head(study, cell),
                el("td", state(row), cls="state"),
                el("td", significant(row["train_loss"])),
                el("td", loss_with_interval(row)),
                el("td", significant(row["constant_test_loss"])),
                el("td", bar, el("span", number(ratio)), cls="with-bar"),
                el("td", accuracy_text(row)),
            )
        )
    head = ("cell", "runs", "train loss", "test loss", "constant", "test / constant", "test accuracy")
    return table(head, rows, "Final losses, mean over finished seeds ± half of the 95% interval", cls="numbers")


def accuracy_text(row: Mapping[str, Any]) -> str:
    """Show the test accuracy; a regression has none."""
    if row["probe_metric"] == "r2":
        return "–"
    return plus_minus(row["test_accuracy"], row["test_accuracy_ci_high"] - row["test_accuracy"], 3)


def body(material: Material) -> list[object]:
    """Make the figure of the test losses, and the table of all cells."""
    study = material.study
    note = (
        "Test loss over the best constant prediction's (solid line; dotted: the bound of learning); bands: 95% "
        "over seeds."
    )
    return [
        left_out(study),
        optimizer_legend(study),
        panel_row("training", training.panels(study), material.live),
        el("p", note, cls="note"),
        training_table(study),
    ]


SECTION = Section(
    anchor="training",
    name="training",
    question="Did the sweep train?",
    answer=lambda material, _: trained(material.study),
    fixed=True,
    body=body,
)
