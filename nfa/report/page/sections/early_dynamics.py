"""Until when does the prediction from the initial weights hold?"""

import numpy as np
import pandas as pd

from nfa.conventions import HEADLINE
from nfa.report.figures import early
from nfa.report.numbers import UNDEFINED, plural, significant
from nfa.report.page.html import el
from nfa.report.page.sections.section import Answer, Material, Section, layer_legend, panel_row
from nfa.report.page.sentences import pooled
from nfa.report.statistics.departure_time import SHARE
from nfa.report.statistics.early_dynamics import NORMS, ORDERS, in_headline
from nfa.report.statistics.labels import quantity_labels
from nfa.report.statistics.study import Study

NOT_FOLLOWED = (
    "Not followed in this sweep. The entry measure: {early: 500} in a sweep file measures it, in cells of plain SGD "
    "with backpropagation: without momentum, weight decay or clipping."
)


def until_when(study: Study) -> Answer:
    """Give the median step at which the leading and the next order of the prediction leave the measured curve."""
    left = in_headline(study.tables["early_departure"])
    left = left[(left["note"] != "undefined") & left["cell"].isin(study.shown)]
    if left.empty:
        return Answer(UNDEFINED, NOT_FOLLOWED)
    names = {**NORMS, **quantity_labels(["c_nfc"])}
    parts = [f"{name}: {_orders(left[left['quantity'] == quantity])}" for quantity, name in names.items()]
    samples = study.collected.sweep.measure.early
    cells, seeds = left["cell"].nunique(), left["seed"].nunique()
    verdict = (
        f"In the median layer and seed, a prediction from the initial weights is off by more than {SHARE:.0%} after "
        f"the following number of steps of the learning rate in use. {'; '.join(parts)}."
    )
    numbers = (
        "W̄ = W − W0 is the change of the weights. Leading order: the weights move along their first derivative in "
        "time, and K stays as it is. Next order: the second derivative of the weights and the first one of K are "
        "included. Mini-batches add noise that no prediction here contains."
    )
    context = (
        f"Followed along gradient flow on at most {samples:,} training samples ({plural(cells, 'cell')} of plain SGD, "
        f"{plural(seeds, 'seed')}; C-NFC: {HEADLINE}).{pooled(study, left['cell'])}"
    )
    return Answer("", verdict, numbers, context)


def _orders(left: pd.DataFrame) -> str:
    """Write the median step of both orders."""
    return ", ".join(f"{order} order {_median(left[left['order'] == order])}" for order in ORDERS)


def _median(left: pd.DataFrame) -> str:
    """Write the median step; a curve that never leaves counts as later than all that do."""
    stays = int(left["steps"].isna().sum())
    staying = f"{stays} of {plural(len(left), 'curve')} {'stays' if stays == 1 else 'stay'}"
    middle = float(left["steps"].fillna(np.inf).median())
    if not np.isfinite(middle):
        return f"not in the time followed ({staying})"
    return f"{significant(middle, 2)}" + (f" ({staying})" if stays else "")


def body(material: Material) -> list[object]:
    """Make the curves of each data set and model that was followed."""
    blocks = []
    for index, (group, panels) in enumerate(early.panels(material.study).items()):
        blocks += [el("h4", group), panel_row(f"early{index}", panels, material.live)]
    if not blocks:
        return []
    note = (
        "● measured along gradient flow  ╌ prediction at leading order, where C-NFC stays at its limit  — prediction "
        f"at the next order  ❘ where a prediction is first off by more than {SHARE:.0%} of the measured value.\n"
        f"One seed. Norms are Frobenius norms, W̄ = W − W0. C-NFC: {HEADLINE}."
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
