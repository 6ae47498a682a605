"""For which optimizer and depth is alignment strongest?"""

from functools import cache

from nfa.conventions import Convention
from nfa.report.figures import depth
from nfa.report.numbers import UNDEFINED
from nfa.report.page.html import el
from nfa.report.page.sections.section import Answer, Material, Section, optimizer_legend, panel_row
from nfa.report.page.sentences import NOTHING, counted, pooled, rows_at, seed_mean, stated, without_interval
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.study import Study


def for_whom(study: Study, convention: Convention) -> Answer:
    """For which optimizer and depth?"""
    means = rows_at(study, study.run_means, convention)
    if means.empty:
        return Answer(UNDEFINED, NOTHING)
    present = set(means["optimizer"])
    optimizers = [name for name in study.optimizers if name in present]

    @cache
    def mean(axis: str, name: str, quantity: str) -> str:
        return seed_mean(study, means[means[axis] == name], quantity)

    def told(axis: str, name: str) -> str:
        here = means.loc[means[axis] == name, "cell"]
        return f"{name} {mean(axis, name, 'uc_nfc')} / {mean(axis, name, 'c_nfc')} ({counted(study, here)})"

    def short(name: str) -> str:
        return f"{name} {without_interval(mean('optimizer', name, 'uc_nfc'))}"

    sentence = (
        f"{stated(study, convention)}: final UC-NFC / C-NFC, averaged over hidden layers and cells: "
        f"{name_list(optimizers, 8, lambda name: told('optimizer', name))}. "
        f"By model: {name_list(means['model'].unique(), 8, lambda name: told('model', name))}."
        f"{pooled(study, means['cell'])} "
        f"At one seed all optimizers share data, initial weights and batches."
    )
    return Answer(f"UC-NFC: {name_list(optimizers, 4, short)}", sentence)


def body(material: Material) -> list[object]:
    """Make the figure of all depths."""
    study = material.study
    note = (
        "At the last step, by layers from the output (out: the readout); bars: 95% over seeds. All panels have "
        "the same axes."
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
