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
    """Name the optimizer of the largest mean UC-NFC, and give the means by optimizer and by model."""
    means = rows_at(study, study.run_means, convention)
    if means.empty:
        return Answer(UNDEFINED, NOTHING)
    present = set(means["optimizer"])
    optimizers = [name for name in study.optimizers if name in present]

    @cache
    def mean(axis: str, name: str, quantity: str) -> tuple[float, float, float]:
        return mean_over_seeds(study, means[means[axis] == name], quantity)

    def full(axis: str, name: str) -> str:
        here = means.loc[means[axis] == name, "cell"]
        uc_nfc, c_nfc = (interval(*mean(axis, name, quantity)) for quantity in ("uc_nfc", "c_nfc"))
        return f"{name}: {uc_nfc} / {c_nfc} ({counted(study, here)})"

    def short(name: str) -> str:
        return f"{name} {number(mean('optimizer', name, 'uc_nfc')[0])}"

    best = max(optimizers, key=lambda name: np.nan_to_num(mean("optimizer", name, "uc_nfc")[0], nan=-np.inf))
    verdict = (
        f"Averaged over hidden layers and cells, {'the largest mean of ' if len(optimizers) > 1 else ''}final UC-NFC "
        f"is that of {best}: {interval(*mean('optimizer', best, 'uc_nfc'))}."
    )
    numbers = (
        f"Means of final UC-NFC / C-NFC: {name_list(optimizers, 8, lambda name: full('optimizer', name))}. "
        f"By model: {name_list(means['model'].unique(), 8, lambda name: full('model', name))}. "
        "At the same seed all optimizers share data, initial weights and batches."
    )
    context = f"{stated(study, convention)}{pooled(study, means['cell'])}"
    return Answer(f"UC-NFC: {name_list(optimizers, 4, short)}", verdict, numbers, context)


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
