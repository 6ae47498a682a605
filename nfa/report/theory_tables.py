"""The tables of the page's part on theory."""

from typing import Any

import numpy as np

from nfa.report.conventions import HEADLINE, Convention
from nfa.report.figures.panels import Live
from nfa.report.live import live_text
from nfa.report.markup import UNDEFINED, Safe, el, number
from nfa.report.ranks import POOLED, by_depth
from nfa.report.runs import at_convention
from nfa.report.study import Study
from nfa.report.tables import ENOUGH_POINTS, rank_cell, row_head, table
from nfa.report.theory import distance


def prediction_table(study: Study) -> Safe:
    """Predicted against measured C-NFC: distance and rank correlation, pooled and by depth from the output."""
    table_of = study.tables["predictions"]
    records: list[dict[Any, Any]] = table_of[at_convention(table_of, HEADLINE)].to_dict("records")
    keys = ("data", "layers", "predictor", "at", "measure")
    found = {tuple(row[key] for key in keys): row for row in records}
    layers = {POOLED: POOLED} | {by_depth(depth): f"{depth} from the output" for depth in range(1, study.deepest + 1)}
    rows = []
    for data in dict.fromkeys(study.cells["data"]):
        for name, shown in layers.items():
            places = [("update", "first"), ("update", "last"), ("flow", "last")]
            gaps = [found.get((data, name, *place, "difference")) for place in places]
            n = next((row["n"] for row in gaps if row), None)
            if n is not None:
                ranks = [found.get((data, name, *place, "rho")) for place in places]
                cells = [
                    (el("td", _gap(gap)), rank_cell(rank, "nothing to compare"))
                    for gap, rank in zip(gaps, ranks, strict=True)
                ]
                rows.append(el("tr", el("th", data, " · ", shown, scope="row"), el("td", n), cells))
    heads = ("update, first", "update, last", "flow, last")
    names = [f"{who}: {what}" for who in heads for what in ("off by", "ρ")]
    caption = (
        "C-NFC(0+) along the optimizer's first update, and of gradient flow, against C-NFC at the first checkpoint "
        "after step 0 and at the last: mean absolute difference, and Spearman's ρ over cells "
        f"({HEADLINE}; mean and 95% interval over seeds, cut at 0 and at ±1; bold: without 0, and n at least "
        f"{ENOUGH_POINTS}){study.pooled_note()}"
    )
    return table(("layers", "n", *names), rows, caption, cls="numbers")


def _gap(row: dict[Any, Any] | None) -> str:
    return UNDEFINED if row is None else distance(row)


def depth_law_table(study: Study, live: Live) -> Safe:
    """Best power of every cell and layer, with its fit, beside the depth law's."""
    depths = range(study.deepest, -1, -1)
    rows = []
    for cell in study.shown:
        layers = {depth: (name, index) for name, index, depth in study.layers(cell)}
        cells = [
            _best_power_cell(study, live, cell, *layers[depth]) if depth in layers else el("td") for depth in depths
        ]
        rows.append(el("tr", row_head(study, cell), cells))
    names = [f"{depth} (law 1/{depth + 1})" if depth else "out (law 1)" for depth in depths]
    caption = (
        "Best power of the AGOP at the last step, by layers from the output, and the correlation there; mean over "
        "finished seeds; a number's tooltip has its range within 0.01, and the cosine at the law's power and at 1"
    )
    return table(("cell", *names), rows, caption, cls="numbers")


def _best_power_cell(study: Study, live: Live, cell: str, layer: str, index: int) -> Safe:
    def text(convention: Convention) -> str:
        row = study.best_power(cell, index, convention.correlation)
        if row is None or not np.isfinite(row["power"]):
            return UNDEFINED
        return f"{number(row['power'])} (ρ {number(row['fit'])})"

    def tip(convention: Convention) -> str:
        row = study.best_power(cell, index, convention.correlation)
        if row is None or not np.isfinite(row["power"]):
            return f"{layer}: undefined: no run finished, or all powers of the AGOP are alike"
        return (
            f"{layer}: within 0.01 from {number(row['low'])} to {number(row['high'])}; "
            f"ρ {number(row['fit_at_law'])} at the law's power, {number(row['fit_at_1'])} at 1"
        )

    return live_text(live, "td", text, title=tip(HEADLINE))
