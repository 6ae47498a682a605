"""How the numbers were obtained: definitions with their sources, conventions, provenance, the sweep file."""

from collections.abc import Iterable
from typing import Any

import yaml

from nfa.conventions import HEADLINE, LEARNED_RULE
from nfa.features.scores import definitions_text
from nfa.report.page.html import Safe, el
from nfa.report.page.sections.section import Material, Section
from nfa.report.page.tables import table
from nfa.report.page.verdicts import RULE
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.study import Study

# Definitions beside those of the registry of quantities: name, formula, meaning, source.
OBJECTS = (
    (
        "NFM",
        "F = WᵀW",
        "neural feature matrix of a layer h = W x, W of k rows (fan-out) and d columns (fan-in)",
        "Beaglehole, Mitliagkas & Agarwala, arXiv 2402.05271",
    ),
    (
        "K",
        "K = (1/n) Σᵢ Σ_positions JᵢᵀJᵢ, Jᵢ = ∂f(xᵢ)/∂h",
        "covariance (k × k) of the pre-activation tangent features",
        "Beaglehole, Mitliagkas & Agarwala, arXiv 2402.05271",
    ),
    ("AGOP", "G = WᵀKW", "average gradient outer product, for the path through this layer", "derived: the chain rule"),
    ("change", "W̄ = W − W₀", "change of the weights since initialisation", "definition"),
)
EARLY_DYNAMICS = (
    "early_dynamics: centred_nfm_norm, centred_agop_norm, c_nfc",
    "|W̄ᵀW̄|, |W̄ᵀKW̄| and their ρ along θ′ = −∇L; W̄ = tW′ + t²W″/2, K = K₀ + tK′",
    "measured, leading order (tW′, K₀) and next order; t is learning rate × steps",
    "derived",
)

CONVENTIONS_TEXT = (
    (
        "correlation",
        "cosine: ⟨A, B⟩ / (|A||B|). pearson: the same after subtracting each matrix's mean entry. "
        "offdiagonal: pearson over the entries off the diagonal.",
    ),
    (
        "power",
        "1, 1/2, or depth: 1/(L − l + 1) for layer l of L weight matrices, exact for deep linear networks from "
        "balanced "
        "initialisation (arXiv 2510.15563).",
    ),
    (
        "headline",
        f"Figures in files, the table in the terminal and the tables runs and cells_summary are in the convention "
        f"{HEADLINE}. The selector at the top changes the convention of this page only.",
    ),
    (
        "mean over layers",
        "Means are over hidden layers, without the readout: nothing comes after it, so that K = I, and its "
        "correlation at power 1 and both factors are 1, whatever was learned.",
    ),
    (
        "intervals",
        "95% confidence intervals of the mean over seeds, from Student's t distribution; with one seed there are "
        "none. Means of a cell are over the runs that finished.",
    ),
    ("learned", f"A run learned if it finished and {LEARNED_RULE}."),
    (
        "probes",
        "A probe is a linear read-out that is fitted on a layer's training features and scored on test data. Best "
        "probe: the layer with the highest of these test scores. Gain: the score minus that of the same layer of the "
        "untrained network.",
    ),
    (
        "feature quality",
        f"{definitions_text()} U: the directions that the target depends on. Penalties and bandwidths are chosen on a "
        "fifth of the training samples, never on test data.",
    ),
    (
        "strata",
        "In the section on feature quality, ranks are taken within each data set, family of networks, depth from the "
        "output and seed, and all of them enter one rank correlation. Its interval is that of a jackknife over cells, "
        "on Fisher's scale.",
    ),
    ("verdicts", RULE),
    (
        "ranks",
        "Other rank correlations are Spearman's ρ over cells (and hidden layers) at each seed, then mean and "
        "interval over seeds. Points of one network are not independent.",
    ),
)


def definitions() -> Safe:
    """Tabulate each quantity with its formula, meaning, control and source."""
    from nfa.alignment.quantities import QUANTITIES  # imports torch, which the rest of a report does without

    # Backticks mark the names of quantities where these texts become Markdown.
    of_registry = (
        (q.name, q.formula.replace("`", ""), q.meaning.replace("`", ""), q.source, q.control)
        for q in QUANTITIES.values()
    )
    rows = [
        el(
            "tr",
            el("th", el("code", name), scope="row"),
            el("td", formula, cls="formula"),
            el("td", meaning),
            el("td", el("code", control) if control else ""),
            el("td", source),
        )
        for name, formula, meaning, source, control in (
            *((*definition, None) for definition in OBJECTS),
            *of_registry,
            (*EARLY_DYNAMICS, None),
        )
    ]
    head = ("quantity", "definition", "meaning", "control", "source")
    return table(head, rows, "Quantities of each layer, by their names in the tables", cls="definitions")


def conventions(study: Study) -> Safe:
    """List the conventions that all numbers on the page share."""
    sweep = study.collected.sweep
    items = [*CONVENTIONS_TEXT, ("estimator", f"{study.measured_with}: the first samples of a fixed permutation.")]
    items.append(("seeds", name_list(map(str, sweep.seeds), 20)))
    return el("dl", [el("div", el("dt", name), el("dd", text)) for name, text in items], cls="conventions")


def provenance(study: Study) -> Safe:
    """Tabulate versions, commit and machine of the cells, with all values where cells differ."""
    found: dict[str, dict[str, None]] = {}
    for document in study.collected.documents.values():
        for key, value in _flat(document["provenance"]):
            found.setdefault(key, {})[str(value)] = None
    rows = [el("tr", el("th", key, scope="row"), el("td", name_list(values, 5))) for key, values in found.items()]
    return table(
        ("property", "value"),
        rows,
        "Software and hardware that made the cells; all values are listed where cells differ",
    )


def _flat(content: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Flatten nested dictionaries; keys are joined by spaces."""
    pairs: list[tuple[str, Any]] = []
    for key, value in content.items():
        pairs += _flat(value, f"{prefix}{key} ") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return pairs


def sweep_file(study: Study) -> Safe:
    """Show the sweep as it was parsed."""
    text = yaml.safe_dump(
        study.collected.sweep.document, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return el("pre", el("code", text), tabindex=0)


def files(study: Study, figures: Iterable[str]) -> Safe:
    """Link all tables, and the figures that were saved."""
    tables = [
        el(
            "li",
            el("a", f"{name}.csv", href=f"tables/{name}.csv"),
            " ",
            el("a", "parquet", href=f"tables/{name}.parquet"),
        )
        for name in study.tables
    ]
    drawn = [
        el("li", el("a", f"{name}.svg", href=f"figures/{name}.svg"), " ", el("a", "png", href=f"figures/{name}.png"))
        for name in figures
    ]
    return el("div", el("ul", tables), el("ul", drawn), cls="files")


def body(material: Material) -> list[object]:
    """Make the tables of quantities, conventions, files and provenance, and show the sweep file."""
    study = material.study
    return [
        definitions(),
        el("h3", "Conventions"),
        conventions(study),
        el("h3", "Tables and figures"),
        files(study, material.figures),
        el("h3", "Provenance"),
        provenance(study),
        el("h3", "The sweep file"),
        sweep_file(study),
    ]


SECTION = Section(anchor="method", name="method", question="How the numbers were obtained", body=body)
