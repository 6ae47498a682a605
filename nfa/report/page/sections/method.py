"""How the numbers were obtained: definitions with their sources, conventions, provenance, the sweep file."""

from collections.abc import Iterable
from typing import Any

import yaml

from nfa.conventions import HEADLINE, LEARNED_RULE
from nfa.report.page.html import Safe, el
from nfa.report.page.sections.section import Material, Section
from nfa.report.page.tables import table
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.study import Study

PAPER = "Beaglehole, Mitliagkas & Agarwala, arXiv 2402.05271"
OURS = "as defined in this project"
WEIGHT_DECAY_ACCOUNT = "arXiv 2507.05644"

# name, formula (HTML, written here), what it says, source
DEFINITIONS: tuple[tuple[str, str, str, str], ...] = (
    (
        "NFM",
        "F = W<sup>T</sup>W",
        "neural feature matrix of a layer h = W x, W of k rows (fan-out) and d columns (fan-in)",
        PAPER,
    ),
    (
        "K",
        "K = (1/n) Σ<sub>i</sub> Σ<sub>positions</sub> J<sub>i</sub><sup>T</sup>J<sub>i</sub>, J<sub>i</sub> = "
        "∂f(x<sub>i</sub>)/∂h",
        "covariance (k × k) of the pre-activation tangent features",
        PAPER,
    ),
    (
        "AGOP",
        "G = W<sup>T</sup>K W",
        "average gradient outer product, for the path through this layer",
        "derived: the chain rule",
    ),
    (
        "uc_nfc",
        "ρ(W<sup>T</sup>W, (W<sup>T</sup>K W)<sup>power</sup>)",
        "UC-NFC: the neural feature ansatz itself",
        PAPER,
    ),
    (
        "c_nfc",
        "ρ(Δ<sup>T</sup>Δ, (Δ<sup>T</sup>K Δ)<sup>power</sup>), Δ = W − W<sub>0</sub>",
        "C-NFC: of the change of the weights, with the current K",
        PAPER,
    ),
    (
        "c_nfc at step 0",
        "ρ(V<sup>T</sup>V, (V<sup>T</sup>K<sub>0</sub>V)<sup>power</sup>), V = −∂L/∂W at step 0",
        "its limit t → 0+ along gradient flow on the whole training loss, where Δ = 0",
        "derived",
    ),
    (
        "c_nfc_update",
        "the same, V the optimizer's first full-batch update",
        "the limit for the optimizer in use",
        "derived",
    ),
    ("dc_nfc", "ρ(Δ<sup>T</sup>Δ, Δ<sup>T</sup>(K − K<sub>0</sub>) Δ)", "the part due to K moving; power 1 only", OURS),
    (
        "w0_nfc",
        "ρ(W<sub>0</sub><sup>T</sup>W<sub>0</sub>, (W<sub>0</sub><sup>T</sup>K W<sub>0</sub>)<sup>power</sup>)",
        "control: do the initial weights align",
        OURS,
    ),
    (
        "haar_nfc, haar_nfc_sd",
        "mean and sd of ρ(W<sup>T</sup>W, (W<sup>T</sup>Q K Q<sup>T</sup>W)<sup>power</sup>), Q a random rotation",
        "control: K's spectrum without its directions",
        OURS,
    ),
    (
        "c_haar_nfc",
        "mean of ρ(Δ<sup>T</sup>Δ, Δ<sup>T</sup>Q K Q<sup>T</sup>Δ) over random rotations Q",
        "control of c_nfc; power 1 only",
        "derived",
    ),
    (
        "localisation",
        "mean over units of Σ w<sup>4</sup> / (Σ w<sup>2</sup>)<sup>2</sup>",
        "1: one input each",
        "arXiv 2202.00565",
    ),
    ("relative_change", "|Δ| / |W|", "how much of W is learned", PAPER + ", public code"),
    ("stable_rank_…", "|A|<sub>F</sub><sup>2</sup> / |A|<sub>2</sub><sup>2</sup>", "of NFM, AGOP and K", "standard"),
    (
        "subspace_overlap",
        "|U<sub>r</sub><sup>T</sup>V<sub>r</sub>|<sub>F</sub><sup>2</sup> / r",
        "of the leading eigenspaces of NFM and AGOP",
        "standard",
    ),
    ("commutator", "|FG − GF| / (|F||G|)", "0 when NFM and AGOP share eigenvectors", "derived"),
    (
        "fact",
        "ρ(W<sup>T</sup>W, sym(W<sup>T</sup>A)), A = −(1/(nλ)) Σ (∂ℓ/∂h) x<sup>T</sup>",
        "the account by weight decay λ; undefined where λ = 0",
        WEIGHT_DECAY_ACCOUNT,
    ),
    (
        "depth_law_power, …_fit, …_low, …_high",
        "argmax and max over s of ρ(W<sup>T</sup>W, (W<sup>T</sup>K W)<sup>s</sup>)",
        "the best power, the correlation there, and the powers around it at which that has fallen by 0.01",
        "the law 1/(L − l + 1): arXiv 2510.15563",
    ),
    (
        "early_dynamics: centred_nfm_norm, centred_agop_norm, c_nfc",
        "|W̄<sup>T</sup>W̄|, |W̄<sup>T</sup>K W̄| and their ρ along θ′ = −∇L; W̄ = tW′ + t²W″/2, K = K<sub>0</sub> + tK′",
        "measured, leading order (tW′, K<sub>0</sub>) and next order; t is learning rate × steps",
        "derived",
    ),
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
        "Means are over hidden layers, without the readout: nothing comes after it, so that K = I and its "
        "correlation is 1 at power 1, whatever was learned.",
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
        "Linearity: R² of ridge regression from features to (coded) targets. Kernel alignment: ⟨K, YYᵀ⟩ / (|K||YYᵀ|), "
        "K the features' centred kernel. Scatter: tr S_W / tr S_B. Kernel machines: exp(−|x − z|_A / bandwidth), with "
        "A = I, or the layer's NFM or AGOP. Trace share: tr(UᵀAU) / tr A on the relevant directions U. Penalties and "
        "bandwidths are chosen on a fifth of the training samples, never on test data.",
    ),
    (
        "strata",
        "In the section on feature quality, ranks are taken within each data set, depth from the output and seed, "
        "and all of them enter one rank correlation. Its interval is that of a jackknife over cells, on Fisher's "
        "scale.",
    ),
    (
        "ranks",
        "Other rank correlations are Spearman's ρ over cells (and hidden layers) at each seed, then mean and "
        "interval over seeds. Points of one network are not independent.",
    ),
)


def definitions() -> Safe:
    """Tabulate each quantity with its formula, meaning and source."""
    rows = [
        el(
            "tr",
            el("th", el("code", name), scope="row"),
            el("td", Safe(formula), cls="formula"),
            el("td", meaning),
            el("td", source),
        )
        for name, formula, meaning, source in DEFINITIONS
    ]
    return table(
        ("quantity", "definition", "meaning", "source"),
        rows,
        "Quantities of each layer, by their names in the tables",
        cls="definitions",
    )


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
