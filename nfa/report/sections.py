"""The page's questions, in order: each with its sentence, its figures and its tables."""

from collections.abc import Callable
from dataclasses import dataclass

from nfa.report import details, method, sentences
from nfa.report.conventions import HEADLINE, Convention
from nfa.report.figures import ansatz, curves, depth, matrices, probing, training
from nfa.report.figures.panels import Live, Panel, render
from nfa.report.figures.style import OPTIMIZER_COLOURS
from nfa.report.live import live_text
from nfa.report.markup import Safe, el, join, number
from nfa.report.sentences import Answer
from nfa.report.study import Study
from nfa.report.tables import ansatz_table, heat_table, rank_table, training_table

GLYPHS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        anchor: Its id.
        name: In the navigation.
        question: Its heading.
        short: Its answer at a glance; empty for parts that answer nothing.
        html: All of it.
    """

    anchor: str
    name: str
    question: str
    short: str
    html: Safe


def sections(study: Study, albums: list[matrices.Album], live: Live) -> list[Section]:
    """Make all parts of the page, in order."""
    return [
        _training(study, live),
        _ansatz(study, live),
        _layers(study, live),
        _time(study, live),
        _optimizers(study, live),
        _probing(study, live),
        _matrices(study, albums),
        _details(study),
        _method(study),
    ]


def _section(anchor: str, name: str, question: str, answer: Safe | None, *content: object, short: str = "") -> Section:
    html = el("section", el("h2", question), answer, content, id=anchor)
    return Section(anchor, name, question, short, html)


def _lead(answer: Answer) -> Safe:
    return el("p", answer.sentence, cls="answer")


def _live_lead(study: Study, live: Live, answer: Callable[[Study, Convention], Answer]) -> Safe:
    """Make a sentence for every convention; the page shows the selected one's."""
    return live_text(live, "p", lambda convention: answer(study, convention).sentence, cls="answer", aria_live="polite")


def _training(study: Study, live: Live) -> Section:
    answer = sentences.trained(study)
    note = (
        "Test loss over the best constant prediction's (solid line; dotted: the bound of learning); bands: 95% "
        "over seeds."
    )
    parts = (
        _left_out(study),
        _optimizer_legend(study),
        _panels("training", training.panels(study), live),
        el("p", note, cls="note"),
    )
    return _section(
        "training", "training", "Did the sweep train?", _lead(answer), *parts, training_table(study), short=answer.short
    )


def _ansatz(study: Study, live: Live) -> Section:
    legend = el(
        "p",
        "● UC-NFC at the last step, with its 95% interval  ○ at step 0  ❘ grey bar: K turned at random (haar_nfc "
        "± 2 sd)",
        "  × initial weights (w0_nfc). A value without its controls says nothing.",
        cls="note",
    )
    return _section(
        "ansatz",
        "ansatz",
        "Does the ansatz hold here?",
        _live_lead(study, live, sentences.holds),
        _optimizer_legend(study),
        _panels("ansatz", ansatz.panels(study), live),
        legend,
        ansatz_table(study, live),
        short=sentences.holds(study, HEADLINE).short,
    )


def _layers(study: Study, live: Live) -> Section:
    return _section(
        "layers",
        "layers",
        "At which layer?",
        _live_lead(study, live, sentences.which_layer),
        heat_table(study, live),
        short=sentences.which_layer(study, HEADLINE).short,
    )


def _time(study: Study, live: Live) -> Section:
    blocks = []
    for index, (group, cells) in enumerate(study.groups.items()):
        panels = [curves.panel(study, cell) for cell in cells]
        blocks.append(el("h3", group))
        blocks.append(_panels(f"time{index}", panels, live))
    layers = [(name, f"var(--l{shade})") for shade, name in curves.shade_names(study)]
    note = (
        "Bands: 95% over seeds. Steps are linear from 0 to 1 and logarithmic beyond. Hollow: a limit, because W "
        "− W0 = 0 at step 0."
    )
    return _section(
        "time",
        "time",
        "When in training?",
        _live_lead(study, live, sentences.when),
        _legend(layers),
        blocks,
        el("p", note, cls="note"),
        short=sentences.when(study, HEADLINE).short,
    )


def _optimizers(study: Study, live: Live) -> Section:
    note = (
        "At the last step, by layers from the output (out: the readout); bars: 95% over seeds. All panels have "
        "the same axes."
    )
    return _section(
        "optimizers",
        "optimizers",
        "For which optimizer and depth?",
        _live_lead(study, live, sentences.for_whom),
        _optimizer_legend(study),
        _panels("depth", depth.panels(study), live),
        el("p", note, cls="note"),
        short=sentences.for_whom(study, HEADLINE).short,
    )


def _probing(study: Study, live: Live) -> Section:
    answer = sentences.probes_better(study)
    shapes = "  ".join(
        f"{GLYPHS[probing.marker(depth)]} {depth} from the output" for depth in range(1, min(study.deepest, 6) + 1)
    )
    note = f"A point is a hidden layer of a cell, mean over seeds: {shapes}. Headline convention ({HEADLINE})."
    return _section(
        "probes",
        "probes",
        "Do better-aligned layers probe better?",
        _lead(answer),
        _optimizer_legend(study),
        _panels("probing", probing.panels(study), live, cls="panels wide"),
        el("p", note, cls="note"),
        rank_table(study),
        short=answer.short,
    )


def _matrices(study: Study, albums: list[matrices.Album]) -> Section:
    whole = [(album.moments[0].correlation, album.moments[-1].correlation) for album in albums]
    answer = sentences.pictured(study, whole)
    blocks: list[Safe] = []
    for group, cells in study.groups.items():
        found = [album for album in albums if album.cell in cells]
        if found:
            blocks += [el("h3", group), el("div", [_album(study, album) for album in found], cls="albums")]
    return _section("pictures", "pictures", "NFM beside AGOP", _lead(answer), blocks)


def _album(study: Study, album: matrices.Album) -> Safe:
    """Show one run's first layer: NFM and AGOP at step 0 and at the last checkpoint."""
    label = f"{study.row(album.cell)['optimizer']}"
    parts = []
    for moment in album.moments:
        caption = f"step {moment.step:,}: UC-NFC {number(moment.correlation)}"
        pictures = [_picture(picture, f"{label}, step {moment.step}") for picture in moment.pictures]
        parts.append(el("figure", el("div", pictures, cls="pair"), el("figcaption", caption)))
        if moment.eigenvectors:
            vectors = [_picture(picture, f"{label}, step {moment.step}") for picture in moment.eigenvectors]
            half = len(vectors) // 2
            rows = [
                el("div", el("span", name), row) for name, row in (("NFM", vectors[:half]), ("AGOP", vectors[half:]))
            ]
            caption = f"leading eigenvectors at step {moment.step:,}"
            parts.append(el("figure", el("div", rows, cls="vectors"), el("figcaption", caption)))
    colour = study.optimizer(album.cell) % 8
    what = {"diagonal": "diagonals in the input's shape", "whole": "whole matrices"}[album.kind]
    head = el("h4", el("i", cls="swatch", style=f"--c:var(--o{colour})"), label)
    return el(
        "div",
        head,
        el("p", f"{album.layer}, seed {album.seed}, {what}", cls="note"),
        el("div", parts, cls="moments"),
        cls="album",
    )


def _picture(picture: matrices.Picture, where: str) -> Safe:
    height, width = picture.values.shape
    image = el(
        "img",
        src=matrices.data_uri(picture),
        alt=f"{picture.title}, {where}",
        title=picture.title,
        width=width,
        height=height,
    )
    return el("span", image, el("small", picture.title.split(",")[0]))


def _details(study: Study) -> Section:
    return _section("cells", "cells", "Every cell", None, _left_out(study), details.cell_details(study))


def _method(study: Study) -> Section:
    content = (
        method.definitions(),
        el("h3", "Conventions"),
        method.conventions(study),
        el("h3", "Tables and figures"),
        method.files(study),
        el("h3", "Provenance"),
        method.provenance(study),
        el("h3", "The sweep file"),
        method.sweep_file(study),
    )
    return _section("method", "method", "How the numbers were obtained", None, *content)


def _left_out(study: Study) -> Safe | None:
    """Say what a page of a large sweep does not show."""
    if len(study.shown) == len(study.cells):
        return None
    text = (
        f"This sweep has {len(study.cells):,} cells. Figures and details below show {len(study.shown)} of them, "
        "evenly spread over the "
        "sweep; the sentences, the rank correlations and the tables are about all of them."
    )
    return el("p", text, cls="note left-out")


def _panels(prefix: str, panels: list[Panel], live: Live, cls: str = "panels") -> Safe:
    """Show panels side by side, as many as fit."""
    figures = [
        el("figure", el("figcaption", panel.heading), render(panel, f"{prefix}-{index}", live))
        for index, panel in enumerate(panels)
    ]
    return el("div", figures, cls=cls)


def _optimizer_legend(study: Study) -> Safe:
    legend = _legend([(label, f"var(--o{index % 8})") for label, index in study.optimizers.items()])
    if len(study.optimizers) <= len(OPTIMIZER_COLOURS):
        return legend
    return join([legend, el("p", f"Colours come again after {len(OPTIMIZER_COLOURS)} optimizers.", cls="note")])


def _legend(entries: list[tuple[str, str]]) -> Safe:
    return el(
        "p",
        [el("span", el("i", cls="swatch", style=f"--c:{colour}"), label) for label, colour in entries],
        cls="legend",
    )
