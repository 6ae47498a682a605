"""Does the ansatz hold here?"""

from typing import Any

import pandas as pd

from nfa.conventions import CONVENTIONS, HEADLINE, READOUT, Convention
from nfa.report.figures import ansatz
from nfa.report.numbers import UNDEFINED, interval, number, plural, plus_minus
from nfa.report.page.html import Safe, el
from nfa.report.page.live import live_text
from nfa.report.page.sections.section import Answer, Material, Section, optimizer_legend, panel_row
from nfa.report.page.sentences import NOTHING, pooled, pooled_note, rows_at, seed_mean, stated
from nfa.report.page.svg import Live
from nfa.report.page.tables import row_head, table, text_cell, text_head
from nfa.report.page.verdicts import RULE, Compared, Families, by_family, families, in_words, verdict_rows
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.study import Study


def holds(study: Study, convention: Convention) -> Answer:
    """Tell, for each data set and family of networks, whether directions, strengths and UC-NFC lie above chance."""
    means = rows_at(study, study.run_means, convention)
    if means.empty:
        return Answer(UNDEFINED, NOTHING)
    found = _compared(study, convention)
    verdict = " ".join(f"{name}: {in_words(found[key]) or NOT_MEASURED}." for key, name in SUBJECTS.items())
    numbers = f"{SPLIT} {_slopes(study)}{_whole(study, means)}"
    end = f"{stated(study, convention)} The factors are of the cosine at power 1.{pooled(study, means['cell'])}"
    return Answer(in_words(found["directions"], 2) or UNDEFINED, verdict, numbers, end)


def overview(material: Material) -> Safe | None:
    """Make the verdicts of the page's overview: a row per data set and family; None where there are none."""
    rows = verdict_rows(_compared(material.study, HEADLINE))
    if not rows:
        return None
    return el(
        "span",
        [
            el(
                "span",
                el("span", family),
                [el("span", f"{name}: ", el("b", words), f" ({numbers})") for name, words, numbers in verdicts],
                cls="verdicts",
            )
            for family, verdicts in rows
        ],
        cls="all-verdicts",
    )


# Name of a quantity in a word -> its name at the start of a sentence.
SUBJECTS = {"directions": "Directions", "strengths": "Strengths", "UC-NFC": "UC-NFC, the product of both"}
NOT_MEASURED = "the quantity or its control was not measured"
SPLIT = (
    "UC-NFC (cosine, power 1) is the product of two factors. The directional factor is 1 exactly where K is diagonal "
    "in the left singular basis of W. The spectral factor is 1 exactly where K has the same weight on all directions "
    "that W uses, so that along these the AGOP is in proportion to the NFM. By chance means: with K turned at random. "
    "Turned at random, a K of many directions has nearly the same weight on all of them, so that the spectral factor "
    "by chance is close to 1; it is below chance where K prefers the strong or the weak directions of W."
)


def _compared(study: Study, convention: Convention) -> dict[str, Families]:
    """Compare both factors and UC-NFC with their controls."""
    return {
        "directions": families(study, "directional"),
        "strengths": families(study, "spectral"),
        "UC-NFC": families(study, "uc_nfc", convention),
    }


def _slopes(study: Study) -> str:
    """Give the slope of K's spectrum, which says which way the strengths differ; empty where it is unknown."""
    points = study.depth_law
    points = points[(points["correlation"] == HEADLINE.correlation) & (points["depth_from_output"] != READOUT)]
    parts = by_family(study, points.dropna(subset=["slope"]))
    if not parts:
        return ""
    listed = name_list([f"{seed_mean(study, part, 'slope')} in {key[1]} on {key[0]}" for key, part in parts.items()], 8)
    return (
        "Averaged over hidden layers, K's weight on a direction grows with its squared singular value to the power p = "
        f"{listed}; at p = 0 the strengths agree, else the AGOP to the power 1/(1 + p) has the strengths of the NFM. "
    )


def verdict_table(study: Study, live: Live) -> Safe:
    """Tabulate the verdicts with their numbers: a row per data set, family of networks and quantity."""
    compared = {convention: _compared(study, convention) for convention in CONVENTIONS}
    keys = list(dict.fromkeys(key for found in compared[HEADLINE].values() for key in found))
    rows = []
    for key in keys:
        for place, name in enumerate(SUBJECTS):

            def text(convention: Convention, column: str, name: str = name, key: tuple[str, str] = key) -> str:
                row = compared[convention][name].get(key)
                return UNDEFINED if row is None else _entry(row, column)

            head = el("th", f"{key[0]} · {key[1]}" if place == 0 else "", scope="row")
            cells = [
                live_text(live, "td", lambda c, column=column, t=text: t(c, column), cls=cls)  # type: ignore[misc]
                for column, cls in (("verdict", "text"), *((column, None) for column in COLUMNS_OF_VERDICTS))
            ]
            rows.append(el("tr", head, text_cell(name), cells))
    names = ("data and networks", text_head("quantity"), text_head("verdict"), *COLUMNS_OF_VERDICTS)
    caption = (
        "Verdicts, mean over hidden layers, cells and seeds; in brackets the 95% interval of the difference over "
        "seeds; deviations: the difference in standard deviations of the control (root mean square over layers)"
        f"{pooled_note(study)}"
    )
    return table(names, rows, caption, cls="numbers")


COLUMNS_OF_VERDICTS = ("step 0", "last step", "by chance", "difference", "deviations")


def _entry(row: Compared, column: str) -> str:
    """Write one entry of the table of verdicts."""
    return {
        "verdict": row.words,
        "step 0": number(row.initial),
        "last step": number(row.value),
        "by chance": number(row.control),
        "difference": interval(row.difference, row.low, row.high),
        "deviations": number(row.deviations, 1),
    }[column]


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
            control = COLUMNS[measure] == "by chance" or measure in ("haar_nfc", "w0_nfc", "c_haar_nfc")
            return number(row["mean"]) if control else plus_minus(row["mean"], row["ci_high"] - row["mean"])

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
        verdict_table(study, live),
        el("p", RULE, cls="note"),
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
    overview=overview,
)
