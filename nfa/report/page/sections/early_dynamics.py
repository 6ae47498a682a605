"""Until when does the prediction from the initial weights hold?"""

import numpy as np
import pandas as pd

from nfa.conventions import HEADLINE
from nfa.report.figures import early
from nfa.report.numbers import UNDEFINED, plural, significant
from nfa.report.page.html import el
from nfa.report.page.sections.section import Answer, Material, Section, layer_legend, panel_row
from nfa.report.page.sentences import pooled
from nfa.report.statistics.departure import SHARE
from nfa.report.statistics.early_dynamics import ORDERS, QUANTITIES, in_headline
from nfa.report.statistics.study import Study

NOT_FOLLOWED = (
    "Not followed in this sweep. With measure: {early: 500} in its file, it is for cells of plain SGD: no momentum, "
    "decay or clipping, and backpropagation."
)


def until_when(study: Study) -> Answer:
    """Until when do the two orders hold?"""
    left = in_headline(study.tables["early_departure"])
    left = left[(left["note"] != "undefined") & left["cell"].isin(study.shown)]
    if left.empty:
        return Answer(UNDEFINED, NOT_FOLLOWED)
    parts = [f"{name}: {_orders(left[left['quantity'] == quantity])}" for quantity, name in QUANTITIES.items()]
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


def body(material: Material) -> list[object]:
    """Show the early dynamics of each data and model that was followed."""
    blocks = []
    for index, (group, panels) in enumerate(early.panels(material.study).items()):
        blocks += [el("h4", group), panel_row(f"early{index}", panels, material.live)]
    if not blocks:
        return []
    note = (
        "● measured along gradient flow  ╌ leading order: C-NFC stays at its limit  — next order  ❘ where a line is "
        f"first off by more than {SHARE:.0%} of the measured value. One seed; norms are Frobenius norms, W̄ = W − W0; "
        f"C-NFC: {HEADLINE}."
    )
    return [layer_legend(material.study), *blocks, el("p", note, cls="note")]


SECTION = Section(
    anchor="early-dynamics",
    name="early dynamics",
    question="Early dynamics: until when does the prediction hold?",
    answer=lambda material, _: until_when(material.study),
    fixed=True,
    body=body,
)
