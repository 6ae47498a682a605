"""The tables on the page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nfa.report.conventions import HEADLINE, LEARNED_BELOW, READOUT, Convention
from nfa.report.figures.curves import QUANTITIES
from nfa.report.figures.heatmap import is_tall
from nfa.report.figures.panels import Live
from nfa.report.live import live_heat, live_text
from nfa.report.markup import UNDEFINED, Safe, el, interval, join, number, plus_minus, significant
from nfa.report.ranks import FEWEST_POINTS, POOLED, by_depth
from nfa.report.runs import at_convention
from nfa.report.study import Study

ENOUGH_POINTS = 6  # of a rank correlation, to show it as clear of 0: three points in one order prove nothing
GAP = el("td", cls="gap", aria_hidden="true")  # between the quantities of the heat map


def table(head: Sequence[object], rows: Iterable[object], caption: str, **attributes: Any) -> Safe:
    """Make a table that scrolls by itself where it is wider than the page."""
    columns = [cell if isinstance(cell, Safe) else el("th", cell, scope="col") for cell in head]
    content = el(
        "table", el("caption", el("span", caption)), el("thead", el("tr", columns)), el("tbody", rows), **attributes
    )
    return el("div", content, cls="scroll", tabindex=0, role="region", aria_label=caption)


def row_head(study: Study, cell: str) -> Safe:
    """Name a cell at the start of its row, with its optimizer's colour."""
    return el("th", row_link(study, cell), scope="row")


def row_link(study: Study, cell: str) -> Safe:
    """Name a cell, with its optimizer's colour and a link to its details."""
    colour = study.optimizer(cell) % 8
    swatch = el("i", cls="swatch", style=f"--c:var(--o{colour})")
    return join([swatch, el("a", study.row(cell)["label"], href=f"#{anchor(study, cell)}")])


def anchor(study: Study, cell: str) -> str:
    """Id of a cell's details on the page."""
    return f"cell-{study.shown.index(cell)}"


def training_table(study: Study) -> Safe:
    """Final losses and accuracies beside the constant predictor's."""
    rows = []
    for cell in study.shown:
        row = study.row(cell)
        constant = row["constant_test_loss"]
        ratio = row["test_loss"] / constant if constant else np.nan  # a target that does not vary
        bar = (
            ""
            if not np.isfinite(ratio)
            else el("span", cls="bar", style=f"--w:{min(ratio, 1):.1%};--mark:{LEARNED_BELOW:.0%}")
        )
        rows.append(
            el(
                "tr",
                row_head(study, cell),
                el("td", state(row), cls="state"),
                el("td", significant(row["train_loss"])),
                el("td", loss_with_interval(row)),
                el("td", significant(row["constant_test_loss"])),
                el("td", bar, el("span", number(ratio)), cls="with-bar"),
                el("td", accuracy_text(row)),
            )
        )
    head = ("cell", "runs", "train loss", "test loss", "constant", "test / constant", "test accuracy")
    return table(head, rows, "Final losses, mean over finished seeds ± half of the 95% interval", cls="numbers")


def state(row: Mapping[str, Any]) -> Safe:
    """Say how a cell's runs went."""
    weak = row["n_seeds"] - row["n_learned"] - row["n_diverged"]
    flags = [(row["n_diverged"], "diverged"), (weak, "did not learn")]
    parts = [el("b", f"{count} {what}", cls="flag") for count, what in flags if count]
    if row["n_learned"]:
        parts.insert(0, el("span", f"{row['n_learned']} of {row['n_seeds']} learned"))
    return el("span", [(part, " ") for part in parts])


def loss_with_interval(row: Mapping[str, Any]) -> str:
    """Show the test loss with as many decimals as its size needs."""
    half = row["test_loss_ci_high"] - row["test_loss"]
    if not np.isfinite(half):
        return significant(row["test_loss"])
    decimals = int(np.clip(2 - np.floor(np.log10(abs(row["test_loss"]) or 1)), 0, 8))
    return plus_minus(row["test_loss"], half, decimals)


def accuracy_text(row: Mapping[str, Any]) -> str:
    """Show the test accuracy; a regression has none."""
    if row["probe_metric"] == "r2":
        return "–"
    return plus_minus(row["test_accuracy"], row["test_accuracy_ci_high"] - row["test_accuracy"], 3)


def ansatz_table(study: Study, live: Live) -> Safe:
    """UC-NFC over hidden layers beside its controls, for every cell, in the selected convention."""
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
        "Mean over hidden layers, mean over finished seeds ± half of the 95% interval; n/a: not defined at this power"
    )
    return table(head, rows, caption, cls="numbers")


def heat_table(study: Study, live: Live) -> Safe:
    """Build the heat map: cells x layers, aligned at the output; of few deep networks, layers x cells."""
    if is_tall(study):
        return _tall_heat_table(study, live)
    depths = range(study.deepest, -1, -1)
    groups = [[GAP, el("th", name, colspan=len(depths), scope="colgroup")] for name in QUANTITIES.values()]
    names = [[GAP, *(el("th", str(depth) if depth else "out", scope="col") for depth in depths)] for _ in QUANTITIES]
    head = el("thead", el("tr", el("th", "cell", rowspan=2, scope="col"), groups), el("tr", names))
    rows = []
    for cell in study.shown:
        layers = {depth: (name, index) for name, index, depth in study.layers(cell)}
        cells = [
            [
                GAP,
                *(
                    _heat_cell(study, live, cell, quantity, *layers[depth]) if depth in layers else el("td")
                    for depth in depths
                ),
            ]
            for quantity in QUANTITIES
        ]
        rows.append(el("tr", row_head(study, cell), cells))
    caption = "At the last step, by layers from the output; colour from 0 (pale) to 1; mean over seeds"
    content = el("table", el("caption", el("span", caption)), head, el("tbody", rows), cls="heatmap", id="heatmap")
    return el("div", content, cls="scroll", tabindex=0, role="region", aria_label=caption)


def _tall_heat_table(study: Study, live: Live) -> Safe:
    """Build the heat map of few cells of many layers: a row for each layer, from the input to the output."""
    layers = {cell: {depth: (name, index) for name, index, depth in study.layers(cell)} for cell in study.shown}
    names = [
        [el("th", row_link(study, cell), colspan=len(QUANTITIES) + 1, scope="colgroup") for cell in study.shown],
        [[GAP, *(el("th", name, scope="col") for name in QUANTITIES.values())] for _ in study.shown],
    ]
    head = el("thead", el("tr", el("th", "layer", rowspan=2, scope="col"), names[0]), el("tr", names[1]))
    rows = []
    for depth in range(study.deepest, -1, -1):
        cells = [
            [
                GAP,
                *(
                    _heat_cell(study, live, cell, quantity, *here[depth]) if depth in here else el("td")
                    for quantity in QUANTITIES
                ),
            ]
            for cell, here in layers.items()
        ]
        rows.append(el("tr", el("th", study.place_name(depth), scope="row"), cells))
    caption = "At the last step, layers from the input to the output; colour from 0 (pale) to 1; mean over seeds"
    content = el("table", el("caption", el("span", caption)), head, el("tbody", rows), cls="heatmap tall", id="heatmap")
    return el("div", content, cls="scroll", tabindex=0, role="region", aria_label=caption)


def _heat_cell(study: Study, live: Live, cell: str, quantity: str, layer: str, index: int) -> Safe:
    def show(convention: Convention) -> tuple[str, float | None, str]:
        series = study.series(cell, quantity, index, convention)
        if not len(series.step) or not np.isfinite(series.mean[-1]):
            note = str(series.note[-1]) if len(series.step) else "not measured"
            return UNDEFINED, None, f"{layer}, {QUANTITIES[quantity]}, {convention}: {note or 'undefined'}"
        value = interval(series.mean[-1], series.low[-1], series.high[-1], 3)
        note = f"; {series.note[-1]}" if series.note[-1] else ""
        tip = f"{layer}, {QUANTITIES[quantity]} {value} at step {series.step[-1]:,}; {convention}{note}"
        return number(series.mean[-1]), float(series.mean[-1]), tip

    return live_heat(live, show)


def rank_table(study: Study) -> Safe:
    """Rank correlations with probe scores, pooled and by depth from the output."""
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
        "Spearman's ρ of final alignment with the probe's test score, and with its gain over the same layer untrained "
        f"({HEADLINE}; mean and 95% interval over seeds, cut at ±1; bold: without 0, and n at least {ENOUGH_POINTS}; "
        f"one depth by itself where it has {FEWEST_POINTS} points){study.pooled_note()}"
    )
    return table(names, rows, caption, cls="numbers")


def rank_cell(row: dict[Any, Any] | None, missing: str = "alignment or probes are undefined at all points") -> Safe:
    """Show a rank correlation with its interval, bold where that is clear of 0."""
    if row is None:
        return el("td", UNDEFINED, title=missing)
    sure = row["n"] >= ENOUGH_POINTS and (row["ci_low"] > 0 or row["ci_high"] < 0)
    shown = interval(row["mean"], row["ci_low"], row["ci_high"], bound=1)
    return el("td", shown, title=row["note"] or None, cls="sure" if sure else None)
