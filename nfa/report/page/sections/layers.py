"""At which layer do directions, strengths and UC-NFC align most?"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from nfa.conventions import READOUT, Convention
from nfa.report.figures.heatmap import QUANTITIES, is_tall
from nfa.report.numbers import UNDEFINED, interval, number, plural
from nfa.report.page.html import Safe, el
from nfa.report.page.live import live_heat
from nfa.report.page.sections.section import Answer, Section
from nfa.report.page.sentences import NOTHING, pooled, rows_at, seed_mean, stated
from nfa.report.page.svg import Live
from nfa.report.page.tables import row_head, row_link
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.study import Study

DEPTHS_LISTED, FEW = 8, 3  # a sentence about more depths than DEPTHS_LISTED names the FEW highest and lowest


def which_layer(study: Study, convention: Convention) -> Answer:
    """Name the hidden layers that are most aligned by directions, by strengths and by UC-NFC, with their means."""
    layers = rows_at(study, study.layer_finals, convention)
    layers = layers[layers["depth_from_output"] != READOUT]
    if layers.empty:
        return Answer(UNDEFINED, NOTHING)
    layers = layers.assign(
        directions=layers["directional"] - layers["directional_haar"],
        strengths=layers["spectral"] - layers["spectral_haar"],
        raw=layers["uc_nfc"],
    )
    found = {name: text for name in MEASURES if (text := _most(layers, name))}
    if not found:
        return Answer(UNDEFINED, "UC-NFC is undefined at every hidden layer.", context=stated(study, convention))
    verdict = " ".join(f"By {MEASURES[name]}, {text}." for name, text in found.items())
    short = "\n".join(f"{name.capitalize() if name != 'raw' else 'UC-NFC'}: {text}" for name, text in found.items())
    numbers = (
        f"{_by_depth(study, layers)} Layers are counted from the output; the readout is 0 and is left out, since there "
        "K is the identity and all these numbers are 1 by definition."
    )
    return Answer(short, verdict, numbers, f"{stated(study, convention)}{pooled(study, layers['cell'])}")


MEASURES = {
    "directions": "directions (directional factor above its control)",
    "strengths": "strengths (spectral factor above its control)",
    "raw": "UC-NFC itself, without its control",
}


def _most(layers: pd.DataFrame, column: str) -> str:
    """Tell which hidden layer has the largest mean of a column in most cells; empty where it is undefined."""
    per_cell = layers.groupby(["cell", "depth_from_output"], observed=True)[column].mean().dropna()
    if per_cell.empty:
        return ""
    best = per_cell.unstack("depth_from_output").idxmax(axis=1).astype(int).tolist()
    counts = {depth: best.count(depth) for depth in set(best)}
    ranked = sorted(counts, key=lambda depth: (-counts[depth], depth))
    total = plural(len(best), "cell")
    listed = [f"{_place(ranked[0])} in {counts[ranked[0]]} of {total}"]
    listed += [f"{_place(depth)} in {counts[depth]}" for depth in ranked[1:]]
    lead = "the layer" if 2 * counts[ranked[0]] > len(best) else "no layer in most cells:"
    return f"{lead} {name_list(listed, FEW)}"


def _by_depth(study: Study, layers: pd.DataFrame) -> str:
    """Give the means by depth; of very deep networks, those of the depths with the largest and smallest excess."""
    by_depth = {int(depth): part for depth, part in layers.groupby("depth_from_output")}
    column = "directions" if layers["directions"].notna().any() else "raw"
    means = {depth: float(part[column].mean()) for depth, part in by_depth.items()}

    def listed(depths: Sequence[int], place: Callable[[int], str]) -> str:
        return "; ".join(
            f"{place(depth)} {_means(study, by_depth[depth])} ({plural(by_depth[depth]['cell'].nunique(), 'cell')})"
            for depth in depths
        )

    if len(means) <= DEPTHS_LISTED:
        return f"Means by hidden layer at the last step: {listed(sorted(means, reverse=True), _at_place)}."
    order = sorted((depth for depth in means if np.isfinite(means[depth])), key=lambda depth: means[depth])
    named = partial(_named_place, study)
    what = "directional factor above its control" if column == "directions" else "UC-NFC"
    return (
        f"Of the {len(means)} depths, the mean of the {what} at the last step is largest at these: "
        f"{listed(order[: -FEW - 1 : -1], named)}; and smallest at these: {listed(order[:FEW], named)}."
    )


def _means(study: Study, part: pd.DataFrame) -> str:
    """Write the means of both factors beside their controls, and of UC-NFC, at one depth."""
    pairs = (("directional factor", "directional"), ("spectral factor", "spectral"))
    texts = [
        f"{name} {seed_mean(study, part, column)}, by chance {number(part[f'{column}_haar'].mean())}"
        for name, column in pairs
        if part[column].notna().any()
    ]
    return ", ".join([*texts, f"UC-NFC {seed_mean(study, part, 'uc_nfc')}"])


def _place(depth: int) -> str:
    """Name a layer by its distance from the output."""
    return "just before the readout" if depth == 1 else f"{depth} from the output"


def _at_place(depth: int) -> str:
    """Name the layers at a distance from the output, after a number."""
    return f"for the layer {_place(depth)}"


def _named_place(study: Study, depth: int) -> str:
    """Name a layer of a deep network by its own name, because its distance from the output tells little there."""
    name = study.name_at(depth)
    return f"at {name}" if name else _at_place(depth)


GAP = el("td", cls="gap", aria_hidden="true")  # between the quantities of the heat map


def heat_table(study: Study, live: Live) -> Safe:
    """Build the heat map: a row per cell and a column per depth; the other way round for few deep networks."""
    if is_tall(study):
        return _tall_heat_table(study, live)
    depths = range(study.deepest, -1, -1)
    groups = [[GAP, el("th", name, colspan=len(depths), scope="colgroup")] for name in QUANTITIES.values()]
    names = [
        [GAP, *(el("th", str(depth) if depth else "readout", scope="col") for depth in depths)] for _ in QUANTITIES
    ]
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
    caption = (
        "Every layer at the last step, mean over seeds; columns: distance from the output; at the readout all "
        "these numbers are 1 by definition; colour from 0 (pale) to 1 (dark)"
    )
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
    caption = (
        "Every layer at the last step, mean over seeds; rows: layers from the input to the output (the last one is the "
        "readout, where all these numbers are 1 by definition); colour from 0 (pale) to 1 (dark)"
    )
    content = el("table", el("caption", el("span", caption)), head, el("tbody", rows), cls="heatmap tall", id="heatmap")
    return el("div", content, cls="scroll", tabindex=0, role="region", aria_label=caption)


def _heat_cell(study: Study, live: Live, cell: str, quantity: str, layer: str, index: int) -> Safe:
    """Make one entry of the heat map, with a tooltip."""
    label = QUANTITIES[quantity]

    def show(convention: Convention) -> tuple[str, float | None, str]:
        series = study.curve(cell, quantity, index, convention)
        if not len(series.step) or not np.isfinite(series.mean[-1]):
            note = str(series.note[-1]) if len(series.step) else "not measured"
            return UNDEFINED, None, f"{layer}, {label}, {convention}: {note or 'undefined'}"
        value = interval(series.mean[-1], series.low[-1], series.high[-1], 3)
        note = f"; {series.note[-1]}" if series.note[-1] else ""
        tip = f"{layer}, {label} {value} at step {series.step[-1]:,}; {convention}{note}"
        return number(series.mean[-1]), float(series.mean[-1]), tip

    return live_heat(live, show)


SECTION = Section(
    anchor="layers",
    name="layers",
    question="At which layer?",
    answer=lambda material, convention: which_layer(material.study, convention),
    body=lambda material: [heat_table(material.study, material.live)],
)
