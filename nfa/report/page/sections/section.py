"""The frame of a section of the report page: heading, answer, panels and legends."""

from collections.abc import Callable
from dataclasses import dataclass

from nfa.conventions import Convention
from nfa.report.figures import curves, probing
from nfa.report.figures.panels import Panel
from nfa.report.figures.style import OPTIMIZER_COLOURS
from nfa.report.page.answers import Answer
from nfa.report.page.html import Safe, el, join
from nfa.report.page.live import live_text
from nfa.report.page.svg import Live, render
from nfa.report.statistics.study import Study

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


def make_section(
    anchor: str, name: str, question: str, answer: Safe | None, *content: object, short: str = ""
) -> Section:
    """Frame a section of the page."""
    html = el("section", el("h2", question), answer, content, id=anchor)
    return Section(anchor, name, question, short, html)


def lead(answer: Answer) -> Safe:
    """Make the paragraph of an answer."""
    return el("p", answer.sentence, cls="answer")


def live_lead(study: Study, live: Live, answer: Callable[[Study, Convention], Answer]) -> Safe:
    """Make a sentence for every convention; the page shows the selected one's."""
    return live_text(live, "p", lambda convention: answer(study, convention).sentence, cls="answer", aria_live="polite")


def layer_legend(study: Study) -> Safe:
    """Name the colours of layers."""
    return colour_legend([(name, f"var(--l{shade})") for shade, name in curves.shade_names(study)])


def marker_legend(study: Study) -> str:
    """Name the marker of each depth from the output."""
    return "  ".join(
        f"{GLYPHS[probing.marker(depth)]} {depth} from the output" for depth in range(1, min(study.deepest, 6) + 1)
    )


def panel_row(prefix: str, panels: list[Panel], live: Live, cls: str = "panels") -> Safe:
    """Show panels side by side, as many as fit."""
    figures = [
        el("figure", el("figcaption", panel.heading), render(panel, f"{prefix}-{index}", live))
        for index, panel in enumerate(panels)
    ]
    return el("div", figures, cls=cls)


def optimizer_legend(study: Study) -> Safe:
    """Name the colours of optimizers."""
    named = list(study.optimizers.items())[:OPTIMIZERS_NAMED]
    legend = colour_legend([(label, f"var(--o{index % 8})") for label, index in named])
    if len(study.optimizers) <= len(OPTIMIZER_COLOURS):
        return legend
    note = f"Colours come again after {len(OPTIMIZER_COLOURS)} optimizers"
    left_out = len(study.optimizers) - len(named)
    note += f"; {left_out} more are not named here." if left_out else "."
    return join([legend, el("p", note, cls="note")])


def colour_legend(entries: list[tuple[str, str]]) -> Safe:
    """Make a legend of colours."""
    return el(
        "p",
        [el("span", el("i", cls="swatch", style=f"--c:{colour}"), label) for label, colour in entries],
        cls="legend",
    )
