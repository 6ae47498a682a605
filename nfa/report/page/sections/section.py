"""The frame that every section of the report page has: a question, its answer, and the figures and tables below it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nfa.conventions import CONVENTIONS, HEADLINE, Convention
from nfa.report.figures import curves, probing
from nfa.report.figures.panels import Panel
from nfa.report.figures.style import OPTIMIZER_COLOURS
from nfa.report.page.html import Safe, el, join
from nfa.report.page.live import live_text
from nfa.report.page.svg import Live, render
from nfa.report.statistics.matrix_albums import Album
from nfa.report.statistics.speed_limited import Matched
from nfa.report.statistics.study import Study

GLYPHS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}

OPTIMIZERS_NAMED = 24  # in a legend


@dataclass(frozen=True)
class Answer:
    """The answer to a question of the report: three paragraphs, and a few words for the overview.

    Attributes:
        short: A few words for the overview at the top of the page.
        verdict: The answer itself.
        numbers: The numbers behind it, and explanations of terms.
        context: Convention, samples, seeds, and the settings that vary among the cells taken together.
    """

    short: str
    verdict: str
    numbers: str = ""
    context: str = ""

    @property
    def paragraphs(self) -> tuple[str, str, str]:
        """The three paragraphs, without spaces around them; some may be empty."""
        return self.verdict.strip(), self.numbers.strip(), self.context.strip()

    @property
    def sentence(self) -> str:
        """All paragraphs as one text."""
        return " ".join(filter(None, self.paragraphs))


@dataclass(frozen=True)
class Material:
    """Everything that sections are made from.

    Attributes:
        study: The numbers of the sweep.
        albums: Pictures of the matrices of its cells.
        figures: Names of the figures that are saved beside the page.
        live: Collects the texts and marks that the page's selector changes.
    """

    study: Study
    albums: Sequence[Album] = ()
    figures: Iterable[str] = ()
    live: Live = field(default_factory=Live)

    @cached_property
    def matched(self) -> Matched:
        """The comparison of cells at the same training loss."""
        return Matched(self.study.tables["speed_limited"])


@dataclass(frozen=True)
class Rendered:
    """A section as HTML, with its short answer, which is empty where the section answers nothing.

    Attributes:
        section: The section.
        short: Its short answer.
        html: The whole section.
        overview: What the overview shows in place of the short answer, over its whole width.
    """

    section: "Section"
    short: str
    html: Safe
    overview: Safe | None = None


@dataclass(frozen=True)
class Section:
    """One question of the report.

    Attributes:
        anchor: Id on the page.
        name: Name in the navigation.
        question: Heading.
        body: Makes the figures and tables; None among them is left out.
        answer: Answers the question in one convention; None where the section answers nothing.
        fixed: Show the answer in the headline convention only: the page's selector does not change it.
        overview: Makes what the page's overview shows first, over its whole width, in place of the short answer.
        asked: Tells if the question makes sense for this sweep.
        below: Further questions on the same subject, each under a heading of its own within this section.
    """

    anchor: str
    name: str
    question: str
    body: Callable[[Material], Iterable[object]]
    answer: Callable[[Material, Convention], Answer] | None = None
    fixed: bool = False
    overview: Callable[[Material], Safe | None] | None = None
    asked: Callable[[Material], bool] = lambda _: True
    below: tuple["Section", ...] = ()

    def render(self, material: Material) -> Rendered:
        """Make the section's HTML."""
        short, lead = self._lead(material)
        content = [el("h2", self.question), lead, *self.body(material)]
        for further in self.below:
            content += [
                el("h3", further.question, id=further.anchor),
                further._lead(material)[1],
                *further.body(material),
            ]
        overview = self.overview(material) if self.overview else None
        return Rendered(self, short, el("section", content, id=self.anchor), overview)

    def _lead(self, material: Material) -> tuple[str, Safe | None]:
        """Return the short answer and the paragraphs of the full one, in every convention unless it is fixed."""
        if self.answer is None:
            return "", None
        answers = {c: self.answer(material, c) for c in ((HEADLINE,) if self.fixed else CONVENTIONS)}
        shown: list[Safe] = []
        for place, cls in enumerate(("verdict", "numbers-behind", "note")):
            texts = {convention: answer.paragraphs[place] for convention, answer in answers.items()}
            if not any(texts.values()):
                continue
            if self.fixed:
                shown.append(el("p", texts[HEADLINE], cls=cls))
            else:
                shown.append(live_text(material.live, "p", texts.__getitem__, cls=cls))
        return answers[HEADLINE].short, el("div", shown, cls="answer", aria_live=None if self.fixed else "polite")


def panel_row(prefix: str, panels: Iterable[Panel], live: Live, cls: str = "panels") -> Safe:
    """Show panels side by side, as many as fit."""
    figures = [
        el("figure", el("figcaption", panel.heading), render(panel, f"{prefix}-{index}", live))
        for index, panel in enumerate(panels)
    ]
    return el("div", figures, cls=cls)


def left_out(study: Study) -> Safe | None:
    """Write that a page of a large sweep shows some of its cells only; None where it shows all."""
    if len(study.shown) == len(study.cells):
        return None
    text = (
        f"This sweep has {len(study.cells):,} cells. Figures, tables of cells and details show {len(study.shown)} of "
        "them, evenly spread over the sweep. Sentences, rank correlations and the tables in files are about all "
        "cells."
    )
    return el("p", text, cls="note left-out")


def layer_legend(study: Study) -> Safe:
    """Name the colours of layers."""
    return colour_legend([(name, f"var(--l{shade})") for shade, name in curves.shade_names(study)])


def marker_legend(study: Study) -> str:
    """Name the marker of each depth from the output."""
    return "  ".join(
        f"{GLYPHS[probing.marker(depth)]} {depth} from the output" for depth in range(1, min(study.deepest, 6) + 1)
    )


def points_note(study: Study, more: str = "") -> Safe:
    """Explain a figure whose points are hidden layers of cells; ``more`` is a sentence about this figure alone."""
    text = (
        f"A point is a hidden layer of a cell, mean over seeds. The marker tells the layer: {marker_legend(study)}. "
        f"{more}The figure is always in the convention {HEADLINE}."
    )
    return el("p", text, cls="note")


def optimizer_legend(study: Study) -> Safe:
    """Name the colours of optimizers."""
    named = list(study.optimizers.items())[:OPTIMIZERS_NAMED]
    legend = colour_legend([(label, f"var(--o{index % 8})") for label, index in named])
    if len(study.optimizers) <= len(OPTIMIZER_COLOURS):
        return legend
    note = f"Colours repeat after {len(OPTIMIZER_COLOURS)} optimizers"
    left_out = len(study.optimizers) - len(named)
    note += f"; {left_out} more optimizers are not named here." if left_out else "."
    return join([legend, el("p", note, cls="note")])


def colour_legend(entries: list[tuple[str, str]]) -> Safe:
    """Make a legend of colours: (label, CSS colour) pairs."""
    return el(
        "p",
        [el("span", el("i", cls="swatch", style=f"--c:{colour}"), label) for label, colour in entries],
        cls="legend",
    )
