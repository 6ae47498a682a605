"""Do better-aligned layers hold better features?"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import HEADLINE, READOUT
from nfa.features.scores import IN_SUMMARY, SCORES
from nfa.report.figures import features_ranks, probing
from nfa.report.figures.features_ranks import NAMES, QUANTITIES, scopes
from nfa.report.figures.style import CSS_VARIABLES
from nfa.report.numbers import UNDEFINED, interval, plural, plus_minus
from nfa.report.page.html import Safe, el
from nfa.report.page.sections.section import (
    Answer,
    Material,
    Section,
    colour_legend,
    optimizer_legend,
    panel_row,
    points_note,
)
from nfa.report.page.sentences import counted, pooled_note, pooled_sentence
from nfa.report.page.tables import row_head, table
from nfa.report.statistics.intervals import over_seeds
from nfa.report.statistics.runs import RUN, at_convention
from nfa.report.statistics.stratified_ranks import EVERYWHERE
from nfa.report.statistics.study import Study

METRICS = {"kernel_nfm": "NFM", "kernel_agop": "AGOP"}


def better_features(study: Study) -> Answer:
    """Tell whether layers of better-aligned directions have better linear probes, and better scores of other kinds."""
    ranks = study.tables["features_ranks"]
    ranks = ranks[at_convention(ranks, HEADLINE) & ranks["depth_from_output"].isna()]
    names = scopes(study)
    if not names:
        return Answer(UNDEFINED, "No finished run has hidden layers with scores, so there is no answer.")
    scope = EVERYWHERE if EVERYWHERE in names else names[0]
    ranks = ranks[ranks["data"] == scope]
    records: list[dict[Any, Any]] = ranks.to_dict("records")
    by_quantity = {
        quantity: {row["score"]: row for row in records if row["quantity"] == quantity} for quantity in QUANTITIES
    }
    directions = by_quantity["directional_above_haar"]
    first = directions[FIRST_SCORE]
    others = [row for score, row in directions.items() if score != FIRST_SCORE and np.isfinite(row["ci_low"])]
    verdict = f"{_verdict(first)} {_tally(others)}"
    beside = "; ".join(
        f"{_rho(by_quantity[quantity][FIRST_SCORE])} for {label}"
        for quantity, label in QUANTITIES.items()
        if quantity != "directional_above_haar"
    )
    numbers = (
        "A linear probe is a linear read-out that is fitted on a layer's training features and scored on test data; "
        f"its gain is over the same layer of the untrained network. With the {NAMES[FIRST_SCORE]}'s score, the rank "
        f"correlation is {beside}. Ranks are taken within strata: layers of one data set, one family of networks, one "
        "depth from the output and one seed. The intervals are over cells (jackknife), because cells are what varies "
        "independently: the layers of a network depend on each other, and its seeds say nothing about other settings, "
        "so that an interval over seeds would be too narrow."
    )
    context = (
        f"Convention of UC-NFC and C-NFC: {HEADLINE} ({study.measured_with}).{pooled_sentence(first['pooled_over'])}"
    )
    return Answer(f"{_word(first)}: ρ {_rho(first)}", verdict, numbers, context)


FIRST_SCORE = "probe"  # the score of the verdict: the test score of a linear probe, which every layer has


def _rho(row: dict[Any, Any]) -> str:
    """Write a rank correlation with its interval."""
    return interval(row["rho"], row["ci_low"], row["ci_high"])


def _sign(row: dict[Any, Any]) -> int:
    """Return 1 where better-aligned layers are clearly better by a score, -1 where worse, 0 where not clear."""
    lower_is_better = row["score"] in SCORES and SCORES[row["score"]].lower_is_better
    sign = int(row["ci_low"] > 0) - int(row["ci_high"] < 0)
    return -sign if lower_is_better else sign


def _word(row: dict[Any, Any]) -> str:
    """Write what the interval of the score of the verdict allows to conclude."""
    if not np.isfinite(row["ci_low"]):
        return UNDEFINED
    return {1: "yes", -1: "no, worse ones", 0: "no evidence either way"}[_sign(row)]


def _verdict(row: dict[Any, Any]) -> str:
    """Write the verdict: whether layers whose directions are better aligned have better linear probes."""
    if not np.isfinite(row["ci_low"]):
        return f"There is no interval, and so no answer, by the linear probe's test score ({row['note']})."
    cells = plural(row["n_cells"], "cell")
    told = {
        1: "Yes: layers whose directions are better aligned (directional factor above its control) have linear probes "
        "of a higher test score",
        -1: "No: layers whose directions are better aligned (directional factor above its control) have linear probes "
        "of a lower test score",
        0: "There is no evidence either way: the interval of the rank correlation between the directional factor above "
        "its control and the linear probe's test score contains 0",
    }[_sign(row)]
    return f"{told}, ρ = {_rho(row)} over {cells}."


def _tally(rows: list[dict[Any, Any]]) -> str:
    """Count the other scores that are clearly better or worse in better-aligned layers; empty without scores."""
    if not rows:
        return ""
    signs = [_sign(row) for row in rows]
    better, worse = signs.count(1), signs.count(-1)
    return (
        f"Of {plural(len(rows), 'other score')}, {better} {'is' if better == 1 else 'are'} better in such layers and "
        f"{worse} worse; for the rest the interval contains 0. Among so many, some intervals exclude 0 by chance."
    )


def metrics_carry(study: Study) -> str:
    """Compare kernel machines with learned metrics and with the identity, and give trace shares, per data set.

    Empty where no finished run has kernel machines.
    """
    first = first_layers(study)
    texts, gains = [], []
    for data in dict.fromkeys(study.cells["data"]):
        part = first[(first["data"] == data) & first["kernel_nfm"].notna()]
        if part.empty:
            continue
        metric = "R²" if study.cells.loc[study.cells["data"] == data, "probe_metric"].iloc[0] == "r2" else "accuracy"
        text = (
            f"On {data} ({counted(study, part['cell'])}), a Laplace kernel machine's test {metric} is "
            f"{_show(_over(part, 'kernel_identity'))} with the metric I"
        )
        for column, name in METRICS.items():
            gain = _over(part.assign(gain=part[column] - part["kernel_identity"]), "gain")
            gains.append((name, gain))
            text += f", {_show(_over(part, column))} with the first layer's {name} (difference {_show(gain)})"
        if part["rfm"].notna().any():
            text += f"; a recursive feature machine, without backpropagation, reaches {_show(_over(part, 'rfm'))}"
        known = part.dropna(subset=["agop_trace_share"])
        if len(known):
            text += (
                ". The directions on which the target depends are known here: in their span lie "
                f"{_show(_over(known, 'nfm_trace_share'))} of the trace of the NFM and "
                f"{_show(_over(known, 'agop_trace_share'))} of that of the AGOP"
            )
            if known["agop_target_correlation"].notna().any():
                text += (
                    "; the cosine between the network's AGOP and that of the target function is "
                    f"{_show(_over(known, 'agop_target_correlation'))}"
                )
        texts.append(text + ".")
    if not texts:
        return ""
    explained = (
        " A Laplace kernel machine predicts from the raw inputs x with the kernel exp(−|x − z|_A / bandwidth); the "
        "metric A is the identity I, or learned by the network. Numbers are means over cells with 95% intervals over "
        "seeds, which say nothing about other cells."
    )
    side = "ci_low" if study.n_seeds > 1 else "mean"
    better = {metric: sum(gain[side] > 0 for name, gain in gains if name == metric) for metric in METRICS.values()}
    reason = "the 95% interval of the difference lies above 0" if study.n_seeds > 1 else "one seed, no interval"
    verdict = (
        "A kernel machine predicts better with the first layer's NFM as its metric than with the identity on "
        f"{better['NFM']} of {plural(len(texts), 'data set')}, and with its AGOP on {better['AGOP']} ({reason}). "
    )
    return verdict + " ".join(texts) + explained


def first_layers(study: Study) -> pd.DataFrame:
    """Select the first layers of finished runs at the last step."""
    joined = study.tables["features_alignment"]
    kept = joined["last"] & joined["finished"] & at_convention(joined, HEADLINE) & (joined["layer_index"] == 0)
    return joined[kept]


def _over(frame: pd.DataFrame, column: str) -> "pd.Series[Any]":
    """Average over cells within each seed, then take mean and interval over seeds."""
    return over_seeds(frame.groupby("seed")[column].mean().reset_index().assign(all=0), ["all"], column).iloc[0]


def _show(row: "pd.Series[Any]") -> str:
    """Write a mean score with its interval, cut at 1."""
    return interval(row["mean"], row["ci_low"], max(row["mean"], min(row["ci_high"], 1.0)))  # no score is more than 1


def quality_table(study: Study) -> Safe:
    """Tabulate probes with their baselines, kernel machines and trace shares of every cell at the last step."""
    first = first_layers(study)
    long = first.melt(["cell", *RUN[1:]], list(IN_SUMMARY), var_name="score")
    records: list[dict[Any, Any]] = over_seeds(long, ["cell", "score"]).to_dict("records")
    spread = {(row["cell"], row["score"]): row for row in records if np.isfinite(row["mean"])}

    def show(cell: str, score: str) -> Safe:
        row = spread.get((cell, score))
        return el("td", "–" if row is None else plus_minus(row["mean"], row["ci_high"] - row["mean"]))

    rows = []
    for cell in study.shown:
        row = study.row(cell)
        probes = [
            plus_minus(row[name], row[f"{name}_ci_high"] - row[name])
            for name in ("input_probe", "best_probe_untrained", "best_probe")
        ]
        rows.append(
            el("tr", row_head(study, cell), [el("td", text) for text in probes], [show(cell, s) for s in IN_SUMMARY])
        )
    head = ["cell", "probe of input", "untrained", "best probe", "kernel, I", "kernel, NFM", "kernel, AGOP", "RFM"]
    head += ["NFM's share", "AGOP's share", "ρ(AGOP, target's)"]
    caption = (
        "Test accuracy or R² of linear probes (of the raw input, of the best untrained and the best trained layer), "
        "of Laplace kernel machines with the metric I and with the first layer's NFM and AGOP, and of a recursive "
        "feature machine (RFM); share of the trace of NFM and AGOP on the relevant directions; correlation of the "
        "AGOP with that of the target function. Mean over the seeds that finished ± half of the 95% interval; –: not "
        "measured"
    )
    return table(head, rows, caption, cls="numbers")


def strata_table(study: Study) -> Safe:
    """Tabulate rank correlations of the directional factor with every score, by depth and over all depths."""
    ranks = study.tables["features_ranks"]
    ranks = ranks[at_convention(ranks, HEADLINE) & (ranks["quantity"] == "directional_above_haar")]
    found: dict[tuple[str, int, str], dict[Any, Any]] = {
        (row["data"], -1 if pd.isna(row["depth_from_output"]) else row["depth_from_output"], row["score"]): row
        for row in ranks.to_dict("records")
    }
    rows = []
    for data in scopes(study):
        for depth in (-1, *range(READOUT + 1, study.deepest + 1)):
            parts = [found.get((data, depth, score)) for score in NAMES]
            known = [part for part in parts if part is not None]
            if known and (depth < 0 or any(np.isfinite(part["rho"]) for part in known)):
                place = "all depths" if depth < 0 else f"{depth} from the output"
                count = max(part["n_cells"] for part in known)
                rows.append(el("tr", el("th", f"{data} · {place}", scope="row"), el("td", count), list(_cells(parts))))
    caption = (
        "Rank correlation of the directional factor above its control, at the last step, with each score, within "
        "strata, and 95% interval over cells by the jackknife. Bold: the interval does not contain 0; among so many "
        f"pairs some do so by chance{pooled_note(study)}"
    )
    return table(("data and depth", "cells", *NAMES.values()), rows, caption, cls="numbers")


def _cells(parts: Iterable[dict[Any, Any] | None]) -> Iterable[Safe]:
    """Make the entries of one row of the table of strata."""
    for part in parts:
        if part is None or not np.isfinite(part["rho"]):
            yield el("td", "–", title=part["note"] if part else None)
        else:
            sure = part["ci_low"] > 0 or part["ci_high"] < 0
            yield el("td", _rho(part), title=part["note"] or None, cls="sure" if sure else None)


def body(material: Material) -> list[object]:
    """Make the figures of probes and of all scores, the tables, and the sentence about metrics."""
    study = material.study
    carried = metrics_carry(study)
    note = (
        "Dots: rank correlation over all strata of a data set. Bars: 95% intervals over cells, where all layers and "
        "seeds of a cell stay together. ↓: a lower score is better. The page's selector moves the marks of UC-NFC and "
        f"C-NFC{pooled_note(study)}."
    )
    return [
        optimizer_legend(study),
        panel_row("probing", probing.panels(study), material.live, cls="panels wide"),
        points_note(study),
        colour_legend([(label, f"var({CSS_VARIABLES[colour]})") for label, colour in features_ranks.legend(study)]),
        panel_row("quality", features_ranks.panels(study), material.live, cls="panels wide"),
        el("p", note, cls="note"),
        strata_table(study),
        el("h3", "Does the metric that a network learned carry its features?") if carried else None,
        el("p", carried, cls="numbers-behind") if carried else None,
        quality_table(study),
    ]


SECTION = Section(
    anchor="quality",
    name="feature quality",
    question="Do better-aligned layers hold better features?",
    answer=lambda material, _: better_features(material.study),
    fixed=True,
    body=body,
)
