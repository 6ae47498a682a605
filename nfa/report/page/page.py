"""Writes report.html: one page that contains its style, script, figures and numbers.

The page opens from a file and loads nothing from the network; a Content-Security-Policy in its head forbids it to.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files

import pandas as pd

from nfa.conventions import HEADLINE
from nfa.jobs.in_fork import running_in_fork
from nfa.report.figures.files import drawings, save_figures
from nfa.report.numbers import plural
from nfa.report.page.contents import render_sections
from nfa.report.page.html import Safe, el, join
from nfa.report.page.live import live_data, selector
from nfa.report.page.sections.section import Material
from nfa.report.page.sentences import pooled
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.matrix_albums import Album, find_albums
from nfa.report.statistics.study import Study
from nfa.storage.atomic import write_text
from nfa.storage.paths import SweepPaths

TERMS = (
    "UC-NFC: correlation of WᵀW with WᵀKW. C-NFC: the same for the change of the weights, W − W₀, with W₀ the weights "
    "at initialisation. Control, or by chance: the same number with K turned at random, which keeps its spectrum and "
    "loses its directions. Directions and strengths: the two factors of UC-NFC, the directional and the spectral one. "
    "The readout, where all of these are 1 by definition, is in no mean."
)


def write_report(collected: Collected, tables: dict[str, pd.DataFrame], paths: SweepPaths) -> None:
    """Write figures/ and report.html, in two processes at once because each takes some ten seconds."""
    study = Study(collected, tables, paths)
    albums = find_albums(study)
    figures = drawings(study, albums)
    with running_in_fork(lambda: save_figures(study, figures)):
        text = page(study, figures, albums)
    write_text(paths.report, text)


def page(study: Study, figures: Iterable[str], albums: Sequence[Album]) -> str:
    """Make the HTML of the whole page.

    Args:
        study: The numbers of the sweep.
        figures: Names of the figures that are saved beside the page, for links to them.
        albums: Pictures of the matrices of the sweep's cells.
    """
    material = Material(study, albums, figures)
    parts = render_sections(material)
    assets = files("nfa.report.page") / "assets"
    style, script = ((assets / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    name = study.collected.sweep.name
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{name}: neural feature alignment"),
        el("link", rel="icon", href="data:,"),
        el("style", Safe(style)),
    )
    links = [el("a", part.section.name, href=f"#{part.section.anchor}") for part in parts]
    glance = [
        el(
            "a",
            el("span", part.section.question),
            part.overview or el("b", part.short),
            href=f"#{part.section.anchor}",
            cls="whole" if part.overview else None,
        )
        for part in sorted(parts, key=lambda part: part.overview is None)
        if part.short
    ]
    note = (
        f"Each answer links to its section. All numbers here are in the convention {HEADLINE}, averaged over hidden "
        f"layers and over {plural(study.n_seeds, 'seed')}; brackets hold 95% intervals over seeds, unless a section "
        f"says otherwise. Estimator of K: {study.measured_with}.{pooled(study, study.cells.index)}"
    )
    body = el(
        "body",
        el("a", "Skip to the answers", href="#glance", cls="skip"),
        _header(study),
        el("div", el("nav", links, aria_label="Questions"), selector(), cls="topbar"),
        el(
            "main",
            el(
                "section",
                el("h2", "At a glance"),
                el("div", glance, cls="glance"),
                el("p", TERMS, cls="note"),
                el("p", note, cls="note"),
                id="glance",
            ),
            [part.html for part in parts],
        ),
        live_data(material.live),
        el("script", Safe(script)),
    )
    return "<!doctype html>\n" + el("html", head, body, lang="en") + "\n"


def _policy(script: str) -> str:
    """Write the Content-Security-Policy: no network, and no script but the page's own."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"{allowed}; base-uri 'none'; form-action 'none'"


def _header(study: Study) -> Safe:
    """Introduce the question and its terms, and name the sweep and its size."""
    cells, sweep = study.cells, study.collected.sweep
    facts = [
        plural(len(cells), "cell"),
        plural(study.n_seeds, "seed"),
        ", ".join(dict.fromkeys(cells["data"])),
        ", ".join(dict.fromkeys(cells["model"])),
        ", ".join(study.optimizers),
    ]
    lead = (
        "Do the weights of a layer align with the gradients through it? For each layer h = Wx, this report compares "
        "the neural feature matrix (NFM) WᵀW with the average gradient outer product (AGOP) WᵀKW, where K is the "
        "average of JᵀJ over samples and J = ∂f/∂h is the gradient of the network's output. The correlation of the "
        "two matrices is UC-NFC; the neural feature ansatz says that it is close to 1. C-NFC is the same correlation "
        "with the change of the weights, W − W0, in place of W."
    )
    if study.collected.unfinished:
        facts.insert(1, f"{plural(study.collected.unfinished, 'other cell')} not finished and not in this report")
    items = join([el("li", fact if len(fact) <= 90 else fact[:89] + "…") for fact in facts])
    return el(
        "header", el("p", "nfa sweep", cls="kicker"), el("h1", sweep.name), el("p", lead), el("ul", items, cls="facts")
    )
