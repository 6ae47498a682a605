"""When in training does alignment rise?"""

import numpy as np
import pandas as pd

from nfa.conventions import READOUT, Convention
from nfa.report.figures import curves
from nfa.report.numbers import UNDEFINED, plural
from nfa.report.page.html import el
from nfa.report.page.sections.section import Answer, Material, Section, layer_legend, panel_row
from nfa.report.page.sentences import NOTHING, pooled, stated
from nfa.report.statistics.above_control import mean_over_layers
from nfa.report.statistics.runs import RUN, at_convention
from nfa.report.statistics.study import Study

SMALLEST_CHANGE = 0.05  # of an alignment; half of a smaller change would be noise
DIRECTIONS, UC_NFC = "the directional factor above its control", "UC-NFC"


def when(study: Study, convention: Convention) -> Answer:
    """Give the median checkpoint by which a run has made half of its change in alignment."""
    runs = int((study.tables["runs"]["status"] == "finished").sum())
    if not runs:
        return Answer(UNDEFINED, NOTHING)
    halves = {DIRECTIONS: half_way(study, directions(study)), UC_NFC: half_way(study, uc_nfc(study, convention))}
    moved = {name: found for name, found in halves.items() if len(found)}
    middles = {name: f"by step {int(_quantile(found, 0.5)):,} in {name}" for name, found in moved.items()}
    verdict = ""
    if moved:
        verdict = (
            "Half of the change between step 0 and the last step (mean over hidden layers) is made "
            f"{' and '.join(middles.values())}. "
        )
    still = [name for name in halves if name not in moved]
    if still:
        names = " and ".join(still)
        verdict += (
            f"{names[0].upper()}{names[1:]} hardly {'change' if len(still) > 1 else 'changes'}: in no run do step 0 "
            f"and the last step differ by {SMALLEST_CHANGE} or more."
        )
    numbers = [
        f"In {name}: median over {plural(len(found), 'run')} of the first checkpoint with half of the change "
        f"(quartiles: steps {int(_quantile(found, 0.25)):,} and {int(_quantile(found, 0.75)):,})"
        + (
            f"; {plural(runs - len(found), 'run')} with a change below {SMALLEST_CHANGE} left out."
            * (runs > len(found))
        )
        for name, found in moved.items()
    ]
    cells = {cell for found in moved.values() for cell in found.index.get_level_values("cell")}
    end = (
        f"The last step is {_last_steps(study)}. The control of the directional factor is the same number with K "
        "turned at random."
    )
    short = f"half of the change {', '.join(middles.values())}" if moved else "hardly any change"
    context = f"{stated(study, convention)}{pooled(study, cells) if cells else ''}"
    return Answer(short, verdict, " ".join([*numbers, end]), context)


def _quantile(halves: pd.Series, share: float) -> float:
    return float(np.quantile(halves, share, method="nearest"))


def directions(study: Study) -> pd.DataFrame:
    """Average the directional factor above its control over hidden layers: ``cell``, ``seed``, ``step``, ``value``."""
    means = mean_over_layers(study.directions_above)
    return means[[*RUN, "step", "difference"]].rename(columns={"difference": "value"})


def uc_nfc(study: Study, convention: Convention) -> pd.DataFrame:
    """Average UC-NFC over hidden layers: ``cell``, ``seed``, ``step``, ``value``."""
    alignment = study.collected.alignment
    rows = alignment[(alignment["quantity"] == "uc_nfc") & at_convention(alignment, convention)]
    rows = rows[rows["depth_from_output"] != READOUT].astype({"cell": str})
    return rows.groupby([*RUN, "step"])["value"].mean().reset_index()


def half_way(study: Study, means: pd.DataFrame) -> pd.Series:
    """Find the first checkpoint with half of the change, for each finished run whose mean over layers changed.

    Args:
        study: The sweep's numbers.
        means: ``cell``, ``seed``, ``step`` and ``value``, in the order of the steps.

    Returns:
        (cell, seed) -> step.
    """
    runs = study.tables["runs"]
    finished = runs.loc[runs["status"] == "finished", RUN].astype({"cell": str})
    means = means.merge(finished, on=RUN).dropna(subset=["value"])
    groups = means.groupby(RUN)["value"]
    change = means["value"] - groups.transform("first")
    total = groups.transform("last") - groups.transform("first")
    reached = means[(total.abs() >= SMALLEST_CHANGE) & (change * np.sign(total) >= total.abs() / 2)]
    return reached.groupby(RUN)["step"].min()


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
        "Above: the directional factor less its control, the same number with K turned at random; at 0 the directions "
        "agree no better than by chance. Below: UC-NFC and C-NFC. Bands: 95% intervals over seeds. The axis of steps "
        "is linear from 0 to 1 and logarithmic beyond, unless all checkpoints are evenly spaced. Hollow marker: at "
        "step 0 nothing has changed, so that C-NFC there is its limit "
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
