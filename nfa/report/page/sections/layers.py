"""At which layer do directions, strengths and UC-NFC align most?"""

import numpy as np
import pandas as pd

from nfa.conventions import CONVENTIONS, HEADLINE, READOUT, Convention
from nfa.report.figures.heatmap import QUANTITIES, WIDEST, is_tall
from nfa.report.numbers import UNDEFINED, interval, number, plural
from nfa.report.page.html import Safe, el
from nfa.report.page.live import live_heat, live_text
from nfa.report.page.sections.section import Answer, Section
from nfa.report.page.sentences import NOTHING, pooled, pooled_note, rows_at, seed_mean, stated
from nfa.report.page.svg import Live
from nfa.report.page.tables import row_head, row_link, table
from nfa.report.page.verdicts import CHANCE, by_family, families
from nfa.report.statistics.features_alignment import FACTORS
from nfa.report.statistics.study import Study


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
    parts, found = by_family(study, layers), {}
    for name, quantity in MEASURES.items():
        compared = families(study, quantity) if quantity else {}
        even = {key for key, row in compared.items() if row.verdict == CHANCE}
        texts = {key: _most(study, part, name) for key, part in parts.items()}
        found[name] = {key: f"{text}{EVEN if key in even else ''}" for key, text in texts.items() if text}
    if not any(found.values()):
        return Answer(UNDEFINED, "UC-NFC is undefined at every hidden layer.", context=stated(study, convention))
    sentences = {
        name: f"{SENTENCES[name]} {'; '.join(f'in {key[1]} on {key[0]}: {text}' for key, text in named.items())}."
        for name, named in found.items()
        if named
    }
    raw = f"{sentences.pop('raw', '')} " if len(sentences) > 1 else ""
    first = next(name for name in MEASURES if found[name])
    lines = [f"{family}, {data}: {text}" for (data, family), text in found[first].items()]
    numbers = (
        f"{raw}{_extremes(study, layers)}The factors and their controls are explained in the section above. Layers are "
        "counted from the output; the readout is 0 and is left out, since there K is the identity and all these "
        "numbers are 1 by definition."
    )
    short = "\n".join([f"{SHORT[first]}:", *lines[:4], *([f"and {len(lines) - 4} more"] if len(lines) > 4 else [])])
    return Answer(
        short, " ".join(sentences.values()), numbers, f"{stated(study, convention)}{pooled(study, layers['cell'])}"
    )


MEASURES = {"directions": "directional", "strengths": "spectral", "raw": None}  # -> quantity with a verdict
SENTENCES = {
    "directions": "Directions are furthest above chance (directional factor minus its control)",
    "strengths": "Strengths are most alike beside chance (spectral factor minus its control)",
    "raw": "UC-NFC itself, without its control, is largest",
}
EVEN = " (as by chance, averaged over layers)"
SHORT = {"directions": "directions furthest above chance", "strengths": "strengths most alike", "raw": "largest UC-NFC"}


def _most(study: Study, layers: pd.DataFrame, column: str) -> str:
    """Tell which hidden layer has the largest mean of a column in most cells; empty where it is undefined."""
    per_cell = layers.groupby(["cell", "depth_from_output"], observed=True)[column].mean().dropna()
    if per_cell.empty:
        return ""
    best = per_cell.unstack("depth_from_output").idxmax(axis=1).astype(int).tolist()
    counts = {depth: best.count(depth) for depth in set(best)}
    first = min(counts, key=lambda depth: (-counts[depth], depth))
    return f"{_named(study, first)} in {counts[first]} of {plural(len(best), 'cell')}"


def _extremes(study: Study, layers: pd.DataFrame) -> str:
    """Name the layers of a deep network where directions, or else UC-NFC, are most and least aligned; else empty."""
    if study.deepest <= WIDEST:
        return ""
    column = "directions" if layers["directions"].notna().any() else "raw"
    what = "directional factor minus its control" if column == "directions" else "UC-NFC"
    means = layers.groupby("depth_from_output")[column].mean().dropna().sort_values(ascending=False)
    most, least = (
        ", ".join(
            f"{_named(study, depth)} {number(mean)}" for depth, mean in zip(part.index.tolist(), part, strict=True)
        )
        for part in (means.iloc[:FEW], means.iloc[: -FEW - 1 : -1])
    )
    return (
        f"Over the {len(means)} depths, the mean {what} is largest at these: {most}; and smallest at these: {least}. "
    )


def means_table(study: Study, live: Live) -> Safe | None:
    """Tabulate means by data set, family of networks and depth; None for deep networks, which the heat map shows."""
    if study.deepest > WIDEST:
        return None
    finals = {convention: rows_at(study, study.layer_finals, convention) for convention in CONVENTIONS}
    parts = {convention: _places(study, frame) for convention, frame in finals.items()}
    powers = study.depth_law[study.depth_law["correlation"] == HEADLINE.correlation]
    slopes = _places(study, powers)
    rows = []
    for key, part in parts[HEADLINE].items():
        data, family, depth = key

        def raw(convention: Convention, column: str, key: tuple[str, str, int] = key) -> str:
            here = parts[convention].get(key)
            return UNDEFINED if here is None else seed_mean(study, here, column)

        factors = [
            number(part[name].mean()) if name.endswith("haar") else seed_mean(study, part, name) for name in FACTORS
        ]
        cells = [el("td", text) for text in (part["cell"].nunique(), *factors, *_powers(study, slopes.get(key)))]
        live_cells = [
            live_text(live, "td", lambda c, column=column, t=raw: t(c, column))  # type: ignore[misc]
            for column in ("uc_nfc", "haar_nfc")
        ]
        rows.append(el("tr", el("th", f"{data} · {family} · {_place(depth)}", scope="row"), cells, live_cells))
    names = ("layers", "cells", "directional", "by chance", "spectral", "by chance", "p", "1/(1 + p)", "best power")
    caption = (
        "Means by layer at the last step, over cells and seeds, with 95% intervals over seeds; p: slope of K's "
        "spectrum, 1/(1 + p): the power of the AGOP that has the strengths of the NFM, beside the power that fits "
        "best in the cosine; by chance: with K turned at random"
        f"{pooled_note(study)}"
    )
    return table((*names, "UC-NFC", "by chance"), rows, caption, cls="numbers")


def _powers(study: Study, part: pd.DataFrame | None) -> tuple[str, str, str]:
    """Write the mean slope p of some layers, 1/(1 + p), and the mean of the best-fitting power."""
    if part is None:
        return UNDEFINED, UNDEFINED, UNDEFINED
    slope = float(part["slope"].mean())
    return (
        seed_mean(study, part, "slope"),
        number(1 / (1 + slope) if slope > -1 else None),
        number(part["power"].mean()),
    )


def _places(study: Study, frame: pd.DataFrame) -> dict[tuple[str, str, int], pd.DataFrame]:
    """Cut rows into data sets, families and depths of hidden layers, from the input to the output."""
    hidden = frame[frame["depth_from_output"] != READOUT]
    return {
        (*key, depth): part[part["depth_from_output"] == depth]
        for key, part in by_family(study, hidden).items()
        for depth in sorted(set(part["depth_from_output"].astype(int)), reverse=True)
    }


def _place(depth: int) -> str:
    """Name a layer by its distance from the output."""
    return "just before the readout" if depth == 1 else f"{depth} from the output"


def _named(study: Study, depth: int) -> str:
    """Name a layer of a deep network by its own name, because its distance from the output tells little there."""
    return (study.name_at(depth) if study.deepest > WIDEST else None) or _place(depth)


FEW = 3  # layers of a deep network that a sentence names at either end
GAP = el("td", cls="gap", aria_hidden="true")  # between the quantities of the heat map


def heat_table(study: Study, live: Live) -> Safe:
    """Build the heat map: a row per cell and a column per depth; the other way round for few deep networks."""
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
    caption = (
        "Every layer at the last step, mean over seeds; columns: distance from the output (out: the readout, where all "
        "these numbers are 1 by definition); the stronger the colour, the closer to 1"
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
        "readout, where all these numbers are 1 by definition); the stronger the colour, the closer to 1"
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
    body=lambda material: [means_table(material.study, material.live), heat_table(material.study, material.live)],
)
