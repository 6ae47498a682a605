"""Lists the sections of the page in their order; to add one, write a file in sections/ and add a line here."""

from nfa.report.page.sections import (
    alignment_rise,
    ansatz,
    cells,
    layers,
    method,
    optimizers,
    pictures,
    predictions,
    quality,
    speed_limited,
    training,
    tuning,
)
from nfa.report.page.sections.section import Material, Rendered, Section

SECTIONS: tuple[Section, ...] = (
    training.SECTION,
    tuning.SECTION,
    ansatz.SECTION,
    layers.SECTION,
    alignment_rise.SECTION,
    optimizers.SECTION,
    quality.SECTION,
    predictions.SECTION,
    speed_limited.SECTION,
    pictures.SECTION,
    cells.SECTION,
    method.SECTION,
)


def render_sections(material: Material) -> list[Rendered]:
    """Render every section whose question makes sense for the sweep."""
    return [section.render(material) for section in SECTIONS if section.asked(material)]
