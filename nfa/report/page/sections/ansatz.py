"""Does the ansatz hold here?"""

from typing import Any

import pandas as pd

from nfa.conventions import HEADLINE, READOUT, Convention
from nfa.report.figures import ansatz
from nfa.report.numbers import UNDEFINED, number, plural, plus_minus
from nfa.report.page.html import Safe, el
from nfa.report.page.live import live_text
from nfa.report.page.sections.section import Answer, Material, Section, optimizer_legend, panel_row
from nfa.report.page.sentences import NOTHING, pooled, rows_at, seed_mean, stated
from nfa.report.page.svg import Live
from nfa.report.page.tables import row_head, table
from nfa.report.page.verdicts import RULE, Families, by_family, families, in_words
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.study import Study


def holds(study: Study, convention: Convention) -> Answer:
    """Tell, for each data set and family of networks, whether directions, strengths and UC-NFC lie above chance."""
    means = rows_at(study, study.run_means, convention)
    if means.empty:
        return Answer(UNDEFINED, NOTHING)
    directions, strengths, raw = (
        families(study, "directional"),
        families(study, "spectral"),
        families(study, "uc_nfc", convention),
    )
    verdict = (
        f"Do K's directions agree with those of W? {_told(directions)} Do the strengths? {_told(strengths)} "
        f"UC-NFC, the product of both, is above its control: {_told(raw)}"
    )
    numbers = f"{SPLIT} {_slopes(study)}{_whole(study, means)} {RULE}"
    shorts = [("Directions", directions), ("Strengths", strengths), ("UC-NFC", raw)]
    short = "\n".join(f"{name}: {in_words(found, 4, short=True)}" for name, found in shorts if found)
    end = f"{stated(study, convention)} The factors are of the cosine at power 1.{pooled(study, means['cell'])}"
    return Answer(short or UNDEFINED, verdict, numbers, end)


SPLIT = (
    "UC-NFC at power 1 (cosine) is the product of two factors. The directional factor is 1 exactly where K is diagonal "
    "in the left singular basis of W. The spectral factor is 1 exactly where K has the same weight on all directions "
    "that W uses, so that the AGOP has the strengths of the NFM. A random K of many directions has nearly that, so "
    "that the spectral factor by chance is close to 1: below chance, K prefers W's strong directions or its weak ones."
)


def _told(found: Families) -> str:
    """Write the verdicts as a sentence."""
    text = in_words(found) or "the quantity or its control was not measured"
    return f"{text[0].upper()}{text[1:]}."


def _slopes(study: Study) -> str:
    """Give the slope of K's spectrum, which says which way the strengths differ; empty where it is unknown."""
    points = study.depth_law
    points = points[(points["correlation"] == HEADLINE.correlation) & (points["depth_from_output"] != READOUT)]
    parts = by_family(study, points.dropna(subset=["slope"]))
    if not parts:
        return ""
    listed = name_list(parts, 8, lambda key: f"{seed_mean(study, parts[key], 'slope')} in {key[1]} on {key[0]}")
    return (
        "Averaged over hidden layers, K's weight on a direction grows with its squared singular value to the power p = "
        f"{listed}; the AGOP to the power 1/(1 + p) then has the strengths of the NFM. "
    )


def _whole(study: Study, means: pd.DataFrame) -> str:
    """Give the means of UC-NFC and of its controls over all cells."""
    final, initial = seed_mean(study, means, "uc_nfc"), seed_mean(study, means, "initial")
    cells = means.groupby("cell")["uc_nfc"].mean()
    spread = f", where single cells have {number(cells.min())} to {number(cells.max())}" if len(cells) > 1 else ""
    went = (
        f"Averaged over hidden layers and {_cells_averaged(study, len(cells))}, UC-NFC went from {initial} at "
        f"initialisation to {final} at the last step{spread}."
    )
    if means[["w0_nfc", "haar_nfc"]].isna().all(axis=None):
        return f"{went} Its controls are not defined at this power, so that it says little by itself; select power 1."
    w0, haar = seed_mean(study, means, "w0_nfc"), seed_mean(study, means, "haar_nfc")
    return (
        f"{went} Its controls at the last step are {w0} for the initial weights, with the trained K (w0_nfc), and "
        f"{haar} for K turned at random, which keeps the eigenvalues of K and loses its directions (haar_nfc)."
    )


COLUMNS = {
    "directional": "directional",
    "directional_haar": "by chance",
    "spectral": "spectral",
    "spectral_haar": "by chance",
    "initial": "UC-NFC, step 0",
    "uc_nfc": "UC-NFC",
    "haar_nfc": "haar_nfc",
    "w0_nfc": "w0_nfc",
    "c_nfc": "C-NFC",
    "c_haar_nfc": "c_haar_nfc",
}


def ansatz_table(study: Study, live: Live) -> Safe:
    """Tabulate UC-NFC and its factors, averaged over hidden layers, beside their controls, for every cell."""
    measures = tuple(COLUMNS)
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
    caption = (
        "Mean over hidden layers and over the seeds that finished ± half of the 95% interval over seeds, at the last "
        "step; n/a: not defined at this power. The factors are always of the cosine at power 1"
    )
    return table(("cell", *COLUMNS.values()), rows, caption, cls="numbers")


def _cells_averaged(study: Study, cells: int) -> str:
    """Count the cells that an average is over, and say so where these are not all cells."""
    return plural(cells, "cell") + ("" if cells == len(study.cells) else " in which every run finished")


def body(material: Material) -> list[object]:
    """Make the figure of all layers, and the table of all cells."""
    study, live = material.study, material.live
    legend = el(
        "p",
        "Left: the directional factor; right: UC-NFC.  ● at the last step, with its 95% interval  ○ at step 0  ❘ grey "
        "bar: control with K turned at random (directional_haar and haar_nfc, ± 2 standard deviations over rotations)  "
        "× control with the initial weights (w0_nfc).\n"
        "Both can be large although nothing is learned, as where K is close to a multiple of the identity. Only the "
        "distance from the controls shows alignment. At the readout K is the identity, so that both are 1 by "
        "definition; it is in no mean.",
        cls="note",
    )
    return [
        optimizer_legend(study),
        panel_row("ansatz", ansatz.panels(study), live, cls="panels wide"),
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
