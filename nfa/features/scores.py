"""The registry of scores: the name, meaning and source of every number that the probe stage writes about features.

Tables, figures, trackers and the page read names, labels and formulas from here. Several scores come from one fit or
one decomposition, so the functions stand in other files; ``computed_by`` names them. To add a score: compute it in
``nfa.features.quality``, whose rows carry its name, and describe it here.

This file imports neither torch nor numpy, because a report is made without them.

    >>> SCORES["scatter_ratio"].formula
    'tr S_W / tr S_B'
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

from nfa.conventions import LINEAR_PROBES

RFM_PAPER = "Radhakrishnan et al., arXiv 2212.13881"
OURS = "defined in this project"


@dataclass(frozen=True)
class Score:
    """One score of the features of a layer.

    In formulas Φ are the features, Y the (coded) targets, K a kernel, A a layer's NFM WᵀW or AGOP WᵀKW with tr A = d,
    U the orthonormal directions that the target depends on, r their number.

    Attributes:
        name: Name in the column that ``column`` names, and of the score's column in ``features_alignment``.
        label: Short name for figures and tables.
        meaning: One line for a reader who sees the number.
        formula: Definition in Unicode.
        source: Paper and equation, or "defined in this project".
        computed_by: The function that computes the score, ``module:name`` within ``nfa.features``.
        column: Column of the probe table in which the name stands: ``probe`` for scores that are an accuracy or an R²,
            else ``metric``.
        range: Smallest and largest possible value.
        control: Name of the score that a reader must see beside this one, or None.
        lower_is_better: Whether smaller values mean better features.
        in_summary: Whether a run's summary and the page's table of first layers show the score.
    """

    name: str
    label: str
    meaning: str
    formula: str
    source: str
    computed_by: str
    column: Literal["probe", "metric"] = "metric"
    range: tuple[float, float] = (-inf, 1.0)
    control: str | None = None
    lower_is_better: bool = False
    in_summary: bool = False


def _kernel_machine(name: str, metric: str, letters: str, control: str | None) -> Score:
    """Describe the kernel machine with one metric."""
    return Score(
        name,
        f"kernel machine, {metric}",
        f"accuracy or R² of a Laplace kernel machine whose distances are measured by {letters}",
        f"ridge regression with k(x, z) = exp(−|x − z|_A / bandwidth), A = {letters}",
        RFM_PAPER,
        "kernel:kernel_machine",
        column="probe",
        control=control,
        in_summary=True,
    )


def _recovery(metric: Literal["nfm", "agop"]) -> tuple[Score, ...]:
    """Describe how much of the known directions a layer's metric has found."""
    upper = metric.upper()
    share = Score(
        f"{metric}_trace_share",
        f"trace share of {upper}",
        f"share of the {upper}'s trace on the directions that the target depends on; about r / d at random",
        "tr(UᵀAU) / tr A",
        OURS,
        "recovery:recovery",
        range=(0.0, 1.0),
        in_summary=True,
    )
    overlap = Score(
        f"{metric}_overlap",
        f"overlap of {upper}",
        f"overlap of the {upper}'s r leading eigenvectors V with these directions; about r / d at random",
        "|VᵀU|²_F / r",
        OURS,
        "recovery:recovery",
        range=(0.0, 1.0),
    )
    target = Score(
        f"{metric}_target_correlation",
        f"correlation of {upper} with the target's AGOP",
        f"cosine of the {upper} and the target's own AGOP, T in the basis U",
        "cos(A, U T Uᵀ)",
        OURS,
        "recovery:recovery",
        range=(0.0, 1.0),
        in_summary=metric == "agop",
    )
    machine = Score(
        f"{metric}_rfm_correlation",
        f"correlation of {upper} with the feature machine",
        f"cosine of the {upper} and the metric M of the recursive feature machine",
        "cos(A, M)",
        OURS,
        "recovery:metric_correlation",
        range=(0.0, 1.0),
    )
    return share, overlap, target, machine


_PROBES = tuple(
    Score(
        kind,
        "linear probe",
        f"accuracy or R² of {kind} regression from the features to the targets",
        formula,
        "Alain & Bengio, arXiv 1610.01644",
        "probe:linear_probe",
        column="probe",
    )
    for kind, formula in zip(
        LINEAR_PROBES, ("argmin over B of |Y − ΦB|² + nλ|B|²", "logistic regression by scikit-learn"), strict=True
    )
)
_OF_METRICS = tuple(zip(_recovery("nfm"), _recovery("agop"), strict=True))

# In the order of the columns of features_alignment.
_SCORES = (
    *_PROBES,
    Score(
        "linearity",
        "target linearity",
        "R² of ridge regression from the features to the (coded) targets, of classes too",
        "R² of ridge regression from Φ to Y",
        OURS,
        "probe:target_linearity",
        column="probe",
    ),
    Score(
        "kernel_alignment",
        "kernel alignment, not centred",
        "cosine of the features' kernel and the targets' kernel",
        "⟨K, YYᵀ⟩ / (|K||YYᵀ|), K = ΦΦᵀ",
        "arXiv 2210.02157; Cristianini et al. 2001",
        "geometry:kernel_alignment",
        range=(0.0, 1.0),
    ),
    Score(
        "kernel_alignment_centred",
        "kernel alignment",
        "cosine of the features' and the targets' centred kernels: linear CKA with the targets",
        "⟨K, YYᵀ⟩ / (|K||YYᵀ|), K = ΦΦᵀ, the columns of Φ and Y without their means",
        "Cortes et al., JMLR 2012, eq. 4",
        "geometry:kernel_alignment",
        range=(0.0, 1.0),
    ),
    Score(
        "scatter_ratio",
        "scatter within / between ↓",
        "scatter of the features within classes over that between classes; 0 in neural collapse",
        "tr S_W / tr S_B",
        "Fisher; Papyan, Han & Donoho, arXiv 2008.08186",
        "geometry:scatter_ratio",
        range=(0.0, inf),
        lower_is_better=True,
    ),
    _kernel_machine("kernel_identity", "identity", "I", None),
    _kernel_machine("kernel_nfm", "NFM", "WᵀW", "kernel_identity"),
    _kernel_machine("kernel_agop", "AGOP", "WᵀKW", "kernel_identity"),
    Score(
        "rfm",
        "recursive feature machine",
        "accuracy or R² of a kernel machine that learns its metric M from its own gradients, without a network",
        "M ← (1/n) Σ_i Σ_c ∇f_c(x_i) ∇f_c(x_i)ᵀ, repeated from M = I",
        f"{RFM_PAPER}, algorithm 1",
        "rfm:recursive_feature_machine",
        column="probe",
        in_summary=True,
    ),
    *(score for pair in _OF_METRICS for score in pair),
)
SCORES: dict[str, Score] = {score.name: score for score in _SCORES}
BEYOND_PROBES = tuple(name for name in SCORES if name not in LINEAR_PROBES)
IN_SUMMARY = tuple(name for name, score in SCORES.items() if score.in_summary)


def definitions_text() -> str:
    """Define every score beyond the linear probes in one paragraph, for the page's account of its methods."""
    defined = [f"{score.label} ({name}): {score.formula}" for name, score in SCORES.items() if name in BEYOND_PROBES]
    return "; ".join(defined) + "."
