"""Does the ansatz hold here?"""

from typing import Any

import pandas as pd

from nfa.conventions import Convention
from nfa.report.figures import ansatz
from nfa.report.numbers import UNDEFINED, number, plural, plus_minus
from nfa.report.page.html import Safe, el
from nfa.report.page.live import live_text
from nfa.report.page.sections.section import Answer, Material, Section, optimizer_legend, panel_row
from nfa.report.page.sentences import (
    NOTHING,
    pooled,
    rows_at,
    seed_mean,
    stated,
    without_interval,
)
from nfa.report.page.svg import Live
from nfa.report.page.tables import row_head, table
from nfa.report.statistics.study import Study


def holds(study: Study, convention: Convention) -> Answer:
    """Count the cells in which UC-NFC is above both its controls, and give the means of all of them."""
    means = rows_at(study, study.run_means, convention)
    if means.empty:
        return Answer(UNDEFINED, NOTHING)
    final, initial = seed_mean(study, means, "uc_nfc"), seed_mean(study, means, "initial")
    cells = means.groupby("cell")["uc_nfc"].mean()
    spread = f", where single cells have {number(cells.min())} to {number(cells.max())}" if len(cells) > 1 else ""
    went = (
        f"Averaged over hidden layers and {_cells_averaged(study, len(cells))}, UC-NFC went from {initial} at "
        f"initialisation to {final} at the last step{spread}."
    )
    short = f"UC-NFC {without_interval(initial)} → {without_interval(final)}"
    end = f"{stated(study, convention)}{pooled(study, means['cell'])}"
    if means[["w0_nfc", "haar_nfc"]].isna().all(axis=None):
        missing = "The controls are not defined at this power, so that UC-NFC says little by itself; select power 1."
        return Answer(f"{short}; no controls at this power", missing, went, end)
    above, reason = _above_controls(study, convention, means)
    w0, haar = seed_mean(study, means, "w0_nfc"), seed_mean(study, means, "haar_nfc")
    numbers = (
        f"{went} Its controls at the last step are {w0} for the initial weights, with the trained K (w0_nfc), and "
        f"{haar} for K turned at random, which keeps the eigenvalues of K and loses its directions (haar_nfc)."
    )
    controls = f"controls: {without_interval(w0)} (W₀), {without_interval(haar)} (K turned)"
    return Answer(f"{above}; {short} ({controls})", f"UC-NFC is {above} ({reason}).", numbers, end)


def _above_controls(study: Study, convention: Convention, means: pd.DataFrame) -> tuple[str, str]:
    """Count the cells above both controls, and give the criterion."""
    low = "ci_low" if study.n_seeds > 1 else "mean"
    gaps = study.cell_means[convention][low].unstack("measure").loc[means["cell"].unique(), ["above_w0", "above_haar"]]
    reason = (
        "cells count where the 95% interval of each difference lies above 0"
        if study.n_seeds > 1
        else "one seed, no interval"
    )
    return f"above both controls in {int((gaps > 0).all(axis=1).sum())} of {plural(len(gaps), 'cell')}", reason


def ansatz_table(study: Study, live: Live) -> Safe:
    """Tabulate UC-NFC, averaged over hidden layers, beside its controls, for every cell."""
    measures = ("initial", "uc_nfc", "w0_nfc", "haar_nfc", "above_w0", "above_haar", "c_nfc")
    found: dict[Convention, dict[str, Any]] = {
        convention: {measure: frame.xs(measure, level="measure") for measure in measures if len(frame)}
        for convention, frame in study.cell_means.items()
    }
    rows = []
    for cell in study.shown:

        def text(convention: Convention, measure: str, cell: str = cell) -> str:
            frame = found[convention].get(measure)
            if frame is None or cell not in frame.index:
                return UNDEFINED
            row = frame.loc[cell]
            return plus_minus(row["mean"], row["ci_high"] - row["mean"])

        cells = [live_text(live, "td", lambda c, m=measure, t=text: t(c, m)) for measure in measures]  # type: ignore[misc]
        rows.append(el("tr", row_head(study, cell), cells))
    head = (
        "cell",
        "UC-NFC at step 0",
        "UC-NFC final",
        "w0_nfc",
        "haar_nfc",
        "final − w0",
        "final − haar",
        "C-NFC final",
    )
    caption = (
        "Mean over hidden layers and over the seeds that finished ± half of the 95% interval over seeds; n/a: not "
        "defined at this power"
    )
    return table(head, rows, caption, cls="numbers")


def _cells_averaged(study: Study, cells: int) -> str:
    """Count the cells that an average is over, and say so where these are not all cells."""
    return plural(cells, "cell") + ("" if cells == len(study.cells) else " in which every run finished")


def body(material: Material) -> list[object]:
    """Make the figure of all layers, and the table of all cells."""
    study, live = material.study, material.live
    legend = el(
        "p",
        "● UC-NFC at the last step, with its 95% interval  ○ UC-NFC at step 0  ❘ grey bar: control with K turned at "
        "random (haar_nfc ± 2 standard deviations over rotations)  × control with the initial weights (w0_nfc).\n"
        "UC-NFC can be large although nothing is learned, as where K is close to a multiple of the identity. Only its "
        "distance from the controls shows alignment.",
        cls="note",
    )
    return [
        optimizer_legend(study),
        panel_row("ansatz", ansatz.panels(study), live),
        legend,
        ansatz_table(study, live),
    ]


SECTION = Section(
    anchor="ansatz",
    name="ansatz",
    question="Does the ansatz hold here?",
    answer=lambda material, convention: holds(material.study, convention),
    body=body,
)
