"""Lists the sections of the page in their order; to add one, write a file in sections/ and add a line here."""

from nfa.report.page.sections import (
    ansatz,
    cells,
    layers,
    method,
    optimizers,
    pictures,
    prediction,
    quality,
    speeds,
    time,
    training,
)
from nfa.report.page.sections.section import Material, Rendered, Section

SECTIONS: tuple[Section, ...] = (
    training.SECTION,
    ansatz.SECTION,
    layers.SECTION,
    time.SECTION,
    optimizers.SECTION,
    quality.SECTION,
    prediction.SECTION,
    speeds.SECTION,
    pictures.SECTION,
    cells.SECTION,
    method.SECTION,
)


def render_sections(material: Material) -> list[Rendered]:
    """Render every section whose question makes sense for the sweep."""
    return [section.render(material) for section in SECTIONS if section.asked(material)]
