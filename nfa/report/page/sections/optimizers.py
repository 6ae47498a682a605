"""For which optimizer and depth is alignment strongest?"""

from functools import cache

import numpy as np

from nfa.conventions import Convention
from nfa.report.figures import depth
from nfa.report.numbers import UNDEFINED, interval, number
from nfa.report.page.html import el
from nfa.report.page.sections.section import Answer, Material, Section, optimizer_legend, panel_row
from nfa.report.page.sentences import NOTHING, counted, mean_over_seeds, pooled, rows_at, stated
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.study import Study


def for_whom(study: Study, convention: Convention) -> Answer:
    """Name the optimizers of the best-aligned directions and of the largest UC-NFC, with the means of all of them."""
    means = rows_at(study, study.run_means, convention)
    if means.empty:
        return Answer(UNDEFINED, NOTHING)
    means = means.assign(directions=means["directional"] - means["directional_haar"])
    present = set(means["optimizer"])
    optimizers = [name for name in study.optimizers if name in present]

    @cache
    def mean(axis: str, name: str, quantity: str) -> tuple[float, float, float]:
        return mean_over_seeds(study, means[means[axis] == name], quantity)

    def full(axis: str, name: str) -> str:
        here = means.loc[means[axis] == name, "cell"]
        numbers = " / ".join(interval(*mean(axis, name, column)) for column in ("directions", "uc_nfc", "c_nfc"))
        return f"{name}: {numbers} ({counted(study, here)})"

    def listed(column: str) -> str:
        return name_list(optimizers, 4, lambda name: f"{name} {number(mean('optimizer', name, column)[0])}")

    def largest(column: str) -> str:
        best = max(optimizers, key=lambda name: np.nan_to_num(mean("optimizer", name, column)[0], nan=-np.inf))
        return f"that of {best}: {interval(*mean('optimizer', best, column))}"

    most = "the largest mean of " if len(optimizers) > 1 else "the mean of "
    verdict = (
        f"Averaged over hidden layers and cells at the last step, {most}the directional factor above its control is "
        f"{largest('directions')}, and {most}UC-NFC is {largest('uc_nfc')}."
    )
    numbers = (
        "Means of the directional factor above its control / UC-NFC / C-NFC: "
        f"{name_list(optimizers, 8, lambda name: full('optimizer', name))}. "
        f"By model: {name_list(means['model'].unique(), 8, lambda name: full('model', name))}. "
        "At the same seed all optimizers share data, initial weights and batches."
    )
    context = f"{stated(study, convention)}{pooled(study, means['cell'])}"
    short = f"directions above chance: {listed('directions')}\nUC-NFC: {listed('uc_nfc')}"
    return Answer(short, verdict, numbers, context)


def body(material: Material) -> list[object]:
    """Make the figure of all depths."""
    study = material.study
    note = (
        "UC-NFC and C-NFC at the last step by distance from the output (out: the readout). Bars: 95% intervals over "
        "seeds. All panels have the same axes."
    )
    return [
        optimizer_legend(study),
        panel_row("depth", depth.panels(study), material.live),
        el("p", note, cls="note"),
    ]


SECTION = Section(
    anchor="optimizers",
    name="optimizers",
    question="For which optimizer and depth?",
    answer=lambda material, convention: for_whom(material.study, convention),
    body=body,
)
