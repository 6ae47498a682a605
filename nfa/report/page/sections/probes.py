"""Do better-aligned layers probe better?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nfa.conventions import HEADLINE, READOUT
from nfa.report.figures import probing
from nfa.report.figures.curves import QUANTITIES
from nfa.report.numbers import UNDEFINED, interval
from nfa.report.page.html import Safe, el
from nfa.report.page.sections.section import Answer, Material, Section, optimizer_legend, panel_row, points_note
from nfa.report.page.sentences import pooled_note, stated
from nfa.report.page.tables import ENOUGH_POINTS, rank_cell, table
from nfa.report.statistics.rank_correlation import FEWEST_POINTS, POOLED, by_depth
from nfa.report.statistics.runs import at_convention
from nfa.report.statistics.study import Study


def probes_better(study: Study) -> Answer:
    """Give the rank correlation of final UC-NFC with probe scores and with their gains, per data set."""
    table = study.tables["rank_correlation"]
    table = table[(table["layers"] == POOLED) & at_convention(table, HEADLINE)]
    if table.empty:
        return Answer(UNDEFINED, "No finished run has both alignment and probes, so there is no answer.")
    verdicts, numbers, shorts = [], [], []
    for data in dict.fromkeys(study.cells["data"]):
        records: list[dict[Any, Any]] = table[table["data"] == data].to_dict("records")
        rows = {(row["quantity"], row["score"]): row for row in records}
        probe, gain = rows.get(("uc_nfc", "probe")), rows.get(("uc_nfc", "gain"))
        if probe:
            points = "; over ".join(filter(None, (f"n = {probe['n']} points per seed", probe["pooled_over"])))
            verdicts.append(f"{_conclusion(probe)} on {data}")
            gained = f"{_rank(gain)} ({_conclusion(gain)})" if gain else UNDEFINED
            numbers.append(
                f"On {data}, Spearman's rank correlation ρ of a layer's final UC-NFC with the test score of its "
                f"probe is {_rank(probe)}; with the gain of the probe it is {gained}. These are {points}."
            )
            shorts.append(f"{data} {_rank(probe)}")
    verdict = f"By the test score of a layer's probe: {'; '.join(verdicts) or UNDEFINED}."
    numbers.append(
        "A point is a hidden layer of a cell. Its probe is a linear read-out fitted on the layer's training "
        "features, and the gain is over the same layer of the untrained network. Numbers are means and 95% intervals "
        "over seeds, cut at ±1; points of one network are not independent."
    )
    return Answer(
        f"rank correlation with UC-NFC: {'; '.join(shorts) or UNDEFINED}",
        verdict,
        " ".join(numbers),
        stated(study, HEADLINE),
    )


def _rank(row: Mapping[Any, Any]) -> str:
    """Write a rank correlation with its interval."""
    return interval(row["mean"], row["ci_low"], row["ci_high"], bound=1)


def _conclusion(row: Mapping[Any, Any]) -> str:
    """Write what the interval of a rank correlation allows to conclude."""
    if not np.isfinite(row["mean"]):
        return f"{UNDEFINED} ({row['note']})"
    if not np.isfinite(row["ci_low"]):
        return "no interval with one seed"
    if row["ci_low"] <= 0 <= row["ci_high"]:
        return "no evidence either way (the interval contains 0)"
    return f"better-aligned layers score {'higher' if row['mean'] > 0 else 'lower'}"


def rank_table(study: Study) -> Safe:
    """Tabulate rank correlations with probe scores, of all hidden layers and by depth from the output."""
    ranks = study.tables["rank_correlation"]
    records: list[dict[Any, Any]] = ranks[at_convention(ranks, HEADLINE)].to_dict("records")
    found = {tuple(row[key] for key in ("data", "layers", "quantity", "score")): row for row in records}
    depths = [*range(1, study.deepest + 1), READOUT]
    layers = {POOLED: POOLED} | {
        by_depth(depth): f"{depth} from the output" if depth else "readout" for depth in depths
    }
    rows = []
    for data in dict.fromkeys(study.cells["data"]):
        for name, shown in layers.items():
            row = [found.get((data, name, quantity, score)) for quantity in QUANTITIES for score in ("probe", "gain")]
            n = next((part["n"] for part in row if part), None)
            if n is not None and (n >= FEWEST_POINTS or name == POOLED):
                head = el("th", data, " · ", shown, scope="row")
                rows.append(el("tr", head, el("td", n), [rank_cell(part) for part in row]))
    names = ("layers", "n", "UC-NFC, probe", "UC-NFC, gain", "C-NFC, probe", "C-NFC, gain")
    caption = (
        "Spearman's ρ of final alignment with the probe's test score, and with its gain over the same layer "
        f"untrained: {HEADLINE}; mean and 95% interval over seeds, cut at ±1; n: points per seed. Bold: the interval "
        f"does not contain 0, and n is at least {ENOUGH_POINTS}. A depth has a row of its own if it has "
        f"{FEWEST_POINTS} points{pooled_note(study)}"
    )
    return table(names, rows, caption, cls="numbers")


def body(material: Material) -> list[object]:
    """Make the figure of all layers, and the table of rank correlations."""
    study = material.study
    return [
        optimizer_legend(study),
        panel_row("probing", probing.panels(study), material.live, cls="panels wide"),
        points_note(study),
        rank_table(study),
    ]


SECTION = Section(
    anchor="probes",
    name="probes",
    question="Do better-aligned layers probe better?",
    answer=lambda material, _: probes_better(material.study),
    fixed=True,
    body=body,
)
