"""The page's questions, in order: each with its sentence, its figures and its tables."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nfa.report import details, method, quality, sentences, speed_limited, theory
from nfa.report.albums import Album, Picture
from nfa.report.conventions import HEADLINE, Convention
from nfa.report.departure import SHARE
from nfa.report.figures import ansatz, curves, depth, depth_law, early, forest, matrices, predicted, probing, training
from nfa.report.figures.panels import Live, Panel, render
from nfa.report.figures.style import CSS_VARIABLES, OPTIMIZER_COLOURS
from nfa.report.live import live_text
from nfa.report.markup import Safe, el, join, number
from nfa.report.sentences import Answer
from nfa.report.study import Study
from nfa.report.tables import ansatz_table, heat_table, rank_table, training_table
from nfa.report.theory_tables import depth_law_table, prediction_table

GLYPHS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}

OPTIMIZERS_NAMED = 24  # in a legend


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


def sections(study: Study, live: Live, figures: Iterable[str]) -> list[Section]:
    """Make all parts of the page, in order; ``figures`` are the names of those in files."""
    return [
        _training(study, live),
        _ansatz(study, live),
        _layers(study, live),
        _time(study, live),
        _optimizers(study, live),
        _probing(study, live),
        _quality(study, live),
        _theory(study, live),
        *(_section(*content, short=short) for content, short in speed_limited.parts(study, live)),
        _matrices(study),
        _details(study),
        _method(study, figures),
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
    note = (
        "Bands: 95% over seeds. Steps are linear from 0 to 1 and logarithmic beyond. Hollow: a limit, because W "
        "− W0 = 0 at step 0."
    )
    return _section(
        "time",
        "time",
        "When in training?",
        _live_lead(study, live, sentences.when),
        _layer_legend(study),
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
    note = f"A point is a hidden layer of a cell, mean over seeds: {_shapes(study)}. Headline convention ({HEADLINE})."
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


def _quality(study: Study, live: Live) -> Section:
    answer = quality.better_features(study)
    carried = quality.metrics_carry(study)
    note = (
        "Ranks within strata (data set x depth from the output) and seed; dots: pooled over the strata of a data set; "
        "bars: 95% over cells, whose layers and seeds stay together. ↓: lower is better. The selector moves the marks"
        f"{study.pooled_note()}."
    )
    return _section(
        "quality",
        "feature quality",
        "Feature quality: do better-aligned layers hold better features?",
        _lead(answer),
        el("p", carried, cls="answer") if carried else None,
        _legend([(label, f"var({CSS_VARIABLES[colour]})") for label, colour in forest.legend(study)]),
        _panels("quality", forest.panels(study), live, cls="panels wide"),
        el("p", note, cls="note"),
        quality.quality_table(study),
        quality.strata_table(study),
        short=answer.short,
    )


def _theory(study: Study, live: Live) -> Section:
    shapes = _shapes(study)
    points = (
        f"A point is a hidden layer of a cell, mean over seeds: {shapes}. Dotted: measured as predicted. Headline "
        f"convention ({HEADLINE})."
    )
    powers = (
        "Dots: the best power, mean over seeds; bars: the powers at which the correlation is within 0.01 of the best "
        "(no interval over seeds). Grey: 1/(L − l + 1). The readout has K = I, so that its best power "
        "is 1; with one output all powers of its AGOP are alike, and there is none."
    )
    return _section(
        "theory",
        "theory",
        "Was it predicted at initialisation?",
        _live_lead(study, live, theory.predicted),
        _optimizer_legend(study),
        _panels("predicted", predicted.panels(study), live, cls="panels wide"),
        el("p", points, cls="note"),
        prediction_table(study),
        el("h3", "Depth law: which power of the AGOP fits each layer?"),
        _live_lead(study, live, theory.depth_law),
        _panels("law", depth_law.panels(study), live),
        el("p", powers, cls="note"),
        depth_law_table(study, live),
        el("h3", "Early dynamics: until when does the prediction hold?"),
        _lead(theory.early_dynamics(study)),
        _early(study, live),
        short=theory.predicted(study, HEADLINE).short,
    )


def _early(study: Study, live: Live) -> list[Safe]:
    """Show the early dynamics of each data and model that was followed."""
    blocks = []
    for index, (group, panels) in enumerate(early.panels(study).items()):
        blocks += [el("h4", group), _panels(f"early{index}", panels, live)]
    if not blocks:
        return []
    note = (
        "● measured along gradient flow  ╌ leading order: C-NFC stays at its limit  — next order  ❘ where a line is "
        f"first off by more than {SHARE:.0%} of the measured value. One seed; norms are Frobenius norms, W̄ = W − W0; "
        f"C-NFC: {HEADLINE}."
    )
    return [_layer_legend(study), *blocks, el("p", note, cls="note")]


def _layer_legend(study: Study) -> Safe:
    """Name the colours of layers."""
    return _legend([(name, f"var(--l{shade})") for shade, name in curves.shade_names(study)])


def _shapes(study: Study) -> str:
    """Name the marker of each depth from the output."""
    return "  ".join(
        f"{GLYPHS[probing.marker(depth)]} {depth} from the output" for depth in range(1, min(study.deepest, 6) + 1)
    )


def _matrices(study: Study) -> Section:
    whole = [(album.moments[0].correlation, album.moments[-1].correlation) for album in study.albums]
    answer = sentences.pictured(study, whole)
    blocks: list[Safe] = []
    for group, cells in study.groups.items():
        found = [album for album in study.albums if album.cell in cells]
        if found:
            blocks += [el("h3", group), el("div", [_album(study, album) for album in found], cls="albums")]
    return _section("pictures", "pictures", "NFM beside AGOP", _lead(answer), blocks)


def _album(study: Study, album: Album) -> Safe:
    """Show one run's first layer: NFM and AGOP at step 0 and at the last checkpoint."""
    label = f"{study.row(album.cell)['optimizer']}"
    parts = []
    for moment in album.moments:
        undefined = matrices.grey(moment.pictures, "not finite")
        caption = f"step {moment.step:,}: UC-NFC {number(moment.correlation)}{undefined}"
        pictures = [_picture(picture, f"{label}, step {moment.step}") for picture in moment.pictures]
        parts.append(el("figure", el("div", pictures, cls="pair"), el("figcaption", caption)))
        if moment.eigenvectors:
            vectors = [_picture(picture, f"{label}, step {moment.step}") for picture in moment.eigenvectors]
            half = len(vectors) // 2
            rows = [
                el("div", el("span", name), row) for name, row in (("NFM", vectors[:half]), ("AGOP", vectors[half:]))
            ]
            undefined = matrices.grey(moment.eigenvectors, "there is none")
            caption = f"leading eigenvectors at step {moment.step:,}{undefined}"
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


def _picture(picture: Picture, where: str) -> Safe:
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


def _method(study: Study, figures: Iterable[str]) -> Section:
    content = (
        method.definitions(),
        el("h3", "Conventions"),
        method.conventions(study),
        el("h3", "Tables and figures"),
        method.files(study, figures),
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
    named = list(study.optimizers.items())[:OPTIMIZERS_NAMED]
    legend = _legend([(label, f"var(--o{index % 8})") for label, index in named])
    if len(study.optimizers) <= len(OPTIMIZER_COLOURS):
        return legend
    note = f"Colours come again after {len(OPTIMIZER_COLOURS)} optimizers"
    left_out = len(study.optimizers) - len(named)
    note += f"; {left_out} more are not named here." if left_out else "."
    return join([legend, el("p", note, cls="note")])


def _legend(entries: list[tuple[str, str]]) -> Safe:
    return el(
        "p",
        [el("span", el("i", cls="swatch", style=f"--c:{colour}"), label) for label, colour in entries],
        cls="legend",
    )
