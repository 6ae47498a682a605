"""Did the sweep train?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import LEARNED_RULE, LEARNED_SHARE, NOT_REACHED
from nfa.report.figures import training
from nfa.report.numbers import loss_with_interval, number, plural, plus_minus, significant
from nfa.report.page.html import Safe, el
from nfa.report.page.sections.section import Answer, Material, Section, left_out, optimizer_legend, panel_row
from nfa.report.page.sentences import pooled
from nfa.report.page.tables import row_head, state, table
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.study import Study


def trained(study: Study) -> Answer:
    """Count the cells and runs that learned, and name those that did not."""
    cells, runs = study.cells, study.tables["runs"]
    learned = int(cells["learned"].sum())
    verdict = (
        f"{learned} of {plural(len(cells), 'cell')} learned, {int(runs['learned'].sum())} of "
        f"{plural(len(runs), 'run')}."
    )
    numbers = (
        "A cell is one combination of data, model, optimizer and training settings, with one run for each seed; it "
        f"learned if all its runs did. A run learned if it finished and {LEARNED_RULE}."
    )
    context = ""
    finished = runs[runs["status"] == "finished"]
    ratio = (finished["test_loss"] / finished["constant_test_loss"]).groupby(finished["cell"], sort=False).mean()
    if len(ratio):
        numbers += (
            f" In the median cell, the final test loss is {number(ratio.median())} times that of the best constant "
            f"prediction (range over cells: {number(ratio.min())} to {number(ratio.max())})."
        )
        accuracy = cells.dropna(subset=["test_accuracy"]).groupby("data", sort=False)
        numbers += "".join(
            f" Test accuracy on {data} is {number(part['test_accuracy'].min(), 3)} to "
            f"{number(part['test_accuracy'].max(), 3)}"
            f" (best constant prediction: {number(part['constant_test_accuracy'].mean(), 3)})."
            for data, part in accuracy
        )
        context = pooled(study, finished["cell"])
    verdict += _named("Cells with runs that diverged", cells[cells["n_diverged"] > 0], "n_diverged")
    weak = cells.assign(n_weak=cells["n_seeds"] - cells["n_learned"] - cells["n_diverged"])
    verdict += _named("Cells with runs that did not learn", weak[weak["n_weak"] > 0], "n_weak")
    verdict += _named(
        "Cells with runs that did not reach the training loss or accuracy of train.until",
        cells[cells["n_not_reached"] > 0],
        "n_not_reached",
    )
    counts = {
        "with a run that diverged": cells["n_diverged"] > 0,
        "with a run that did not learn": weak["n_weak"] > 0,
        f"with a run that {NOT_REACHED}": cells["n_not_reached"] > 0,
    }
    failed = "".join(f"; {int(which.sum())} {name}" for name, which in counts.items() if which.any())
    return Answer(f"{learned} of {plural(len(cells), 'cell')} learned{failed}", verdict, numbers, context)


def _named(heading: str, cells: pd.DataFrame, count: str) -> str:
    """List cells with the number of their runs that a column counts; empty without cells."""
    if cells.empty:
        return ""
    rows: list[dict[Any, Any]] = cells.to_dict("records")
    names = (f"{row['label']} ({row[count]} of {plural(row['n_seeds'], 'run')})" for row in rows)
    return f" {heading}: {name_list(names)}."


def training_table(study: Study) -> Safe:
    """Tabulate final losses and accuracies beside those of the best constant prediction."""
    rows = []
    for cell in study.shown:
        row = study.row(cell)
        share = row["learned_share"]
        bar = (
            ""
            if not np.isfinite(share)
            else el("span", cls="bar", style=f"--w:{min(max(share, 0), 1):.1%};--mark:{LEARNED_SHARE:.0%}")
        )
        rows.append(
            el(
                "tr",
                row_head(study, cell),
                el("td", state(row), cls="state"),
                el("td", significant(row["train_loss"])),
                el("td", loss_with_interval(row)),
                el("td", significant(row["constant_test_loss"])),
                el("td", number(row["constant_test_accuracy"], 3)),
                el("td", bar, el("span", number(share)), cls="with-bar"),
                el("td", accuracy_text(row)),
            )
        )
    head = ("cell", "runs", "train loss", "test loss", "constant", "largest class", "way to no error", "test accuracy")
    return table(
        head,
        rows,
        "Final losses and accuracies: mean over the seeds that finished ± half of the 95% interval; constant: test "
        "loss of the best constant prediction; largest class: its accuracy; way to no error: the share of the way from "
        "that accuracy to 1, in a regression from that loss to 0, with a mark where learning begins",
        cls="numbers",
    )


def accuracy_text(row: Mapping[str, Any]) -> str:
    """Write the test accuracy; a regression has none."""
    if row["probe_metric"] == "r2":
        return "–"
    return plus_minus(row["test_accuracy"], row["test_accuracy_ci_high"] - row["test_accuracy"], 3)


def body(material: Material) -> list[object]:
    """Make the figure of the test losses, and the table of all cells."""
    study = material.study
    note = (
        "Test loss divided by that of the best constant prediction. Solid horizontal line: as good as that prediction. "
        f"Dotted, in regressions: {1 - LEARNED_SHARE:g} times its loss, below which a run has learned; of classes the "
        "accuracy decides, in the table below. Bands: 95% intervals over seeds."
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
