"""The page's questions, in order: each with its sentence, its figures and its tables."""

from collections.abc import Iterable, Sequence

from nfa.report.page import details, method
from nfa.report.page.html import el
from nfa.report.page.sections import speeds as speed_limited
from nfa.report.page.sections.ansatz import ansatz_section
from nfa.report.page.sections.layers import layers_section
from nfa.report.page.sections.optimizers import optimizers_section
from nfa.report.page.sections.pictures import matrices_section
from nfa.report.page.sections.probes import probing_section
from nfa.report.page.sections.quality import quality_section
from nfa.report.page.sections.section import Section, make_section
from nfa.report.page.sections.theory import theory_section
from nfa.report.page.sections.time import time_section
from nfa.report.page.sections.training import left_out, training_section
from nfa.report.page.svg import Live
from nfa.report.statistics.matrix_albums import Album
from nfa.report.statistics.study import Study


def sections(study: Study, live: Live, figures: Iterable[str], albums: Sequence[Album]) -> list[Section]:
    """Make all parts of the page, in order; ``figures`` are the names of those in files, ``albums`` their pictures."""
    return [
        training_section(study, live),
        ansatz_section(study, live),
        layers_section(study, live),
        time_section(study, live),
        optimizers_section(study, live),
        probing_section(study, live),
        quality_section(study, live),
        theory_section(study, live),
        *(make_section(*content, short=short) for content, short in speed_limited.parts(study, live)),
        matrices_section(study, albums),
        details_section(study),
        method_section(study, figures),
    ]


def details_section(study: Study) -> Section:
    """Every cell with its settings."""
    return make_section("cells", "cells", "Every cell", None, left_out(study), details.cell_details(study))


def method_section(study: Study, figures: Iterable[str]) -> Section:
    """How the numbers were obtained."""
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
    return make_section("method", "method", "How the numbers were obtained", None, *content)
