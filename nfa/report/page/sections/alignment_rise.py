"""When in training does alignment rise?"""

import numpy as np
import pandas as pd

from nfa.conventions import READOUT, Convention
from nfa.report.figures import curves
from nfa.report.numbers import UNDEFINED, plural
from nfa.report.page.html import el
from nfa.report.page.sections.section import Answer, Material, Section, layer_legend, panel_row
from nfa.report.page.sentences import NOTHING, pooled, stated
from nfa.report.statistics.runs import RUN, at_convention
from nfa.report.statistics.study import Study

SMALLEST_CHANGE = 0.05  # of UC-NFC; half of a smaller change would be noise


def when(study: Study, convention: Convention) -> Answer:
    """Give the median checkpoint by which a run has made half of its change in UC-NFC."""
    halves = half_way(study, convention)
    runs = int((study.tables["runs"]["status"] == "finished").sum())
    if not runs:
        return Answer(UNDEFINED, NOTHING)
    if halves.empty:
        text = (
            f"UC-NFC (mean over hidden layers) hardly changes: in no run do step 0 and the last step differ by "
            f"{SMALLEST_CHANGE} or more."
        )
        return Answer("UC-NFC hardly changes", text, context=stated(study, convention))
    low, middle, high = (f"{int(value):,}" for value in np.quantile(halves, [0.25, 0.5, 0.75], method="nearest"))
    left_out = (
        f" {plural(runs - len(halves), 'run')} with a change below {SMALLEST_CHANGE} "
        f"{'is' if runs - len(halves) == 1 else 'are'} left out."
        if runs > len(halves)
        else ""
    )
    verdict = (
        "Half of the change in UC-NFC (mean over hidden layers) between step 0 and the last step is made by step "
        f"{middle}."
    )
    numbers = (
        f"This is the median, over {plural(len(halves), 'run')}, of the first checkpoint with half of the change "
        f"(quartiles: steps {low} and {high}; last step: {_last_steps(study)}).{left_out}"
    )
    context = f"{stated(study, convention)}{pooled(study, halves.index.get_level_values('cell'))}"
    return Answer(f"half of the change in UC-NFC by step {middle}", verdict, numbers, context)


def half_way(study: Study, convention: Convention) -> pd.Series:
    """Find the first checkpoint with half of the change in UC-NFC, for each finished run that changed."""
    alignment = study.collected.alignment
    rows = alignment[(alignment["quantity"] == "uc_nfc") & at_convention(alignment, convention)]
    rows = rows[rows["depth_from_output"] != READOUT]
    runs = study.tables["runs"]
    finished = runs.loc[runs["status"] == "finished", RUN].astype({"cell": rows["cell"].dtype})
    means = rows.merge(finished, on=RUN).groupby([*RUN, "step"], observed=True)["value"].mean().dropna().reset_index()
    groups = means.groupby(RUN, observed=True)["value"]
    change = means["value"] - groups.transform("first")
    total = groups.transform("last") - groups.transform("first")
    reached = means[(total.abs() >= SMALLEST_CHANGE) & (change * np.sign(total) >= total.abs() / 2)]
    return reached.groupby(RUN, observed=True)["step"].min()


def _last_steps(study: Study) -> str:
    """Write the last step of the finished runs, or the range of them."""
    runs = study.tables["runs"]
    steps = runs.loc[runs["status"] == "finished", "last_step"]
    return f"{steps.min():,}" if steps.nunique() == 1 else f"{steps.min():,} to {steps.max():,}"


def body(material: Material) -> list[object]:
    """Make the curves of every cell."""
    study = material.study
    blocks = []
    for index, (group, cells) in enumerate(study.groups.items()):
        panels = [curves.panel(study, cell) for cell in cells]
        blocks += [el("h3", group), panel_row(f"time{index}", panels, material.live)]
    note = (
        "Bands: 95% intervals over seeds. The axis of steps is linear from 0 to 1 and logarithmic beyond, unless all "
        "checkpoints are evenly spaced. Hollow marker: at step 0 nothing has changed, so that C-NFC there is its limit "
        "t → 0+ along gradient flow."
    )
    return [layer_legend(study), *blocks, el("p", note, cls="note")]


SECTION = Section(
    anchor="time",
    name="time",
    question="When in training?",
    answer=lambda material, convention: when(material.study, convention),
    body=body,
)
