"""Numbers that compare the spectra and eigenvectors of F = W^T W, G = W^T K W and K."""

from math import inf, sqrt

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.agop import Agop, significant
from nfa.alignment.quantities.feature_matrix import FeatureMatrix, blocked, inner, scaled
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import DERIVED, WEIGHTS, Quantity
from nfa.alignment.quantities.values import Value, undefined

MATRIX_ZERO = reason("the matrix is zero")
FEW_DIRECTIONS = reason("{name} has rank {nonzero}, fewer than the {rank} directions compared")
NO_EIGENSPACE = reason("{name} has no top-{rank} eigenspace: eigenvalues {rank} and {next} are equal")
EITHER_ZERO = reason("{name} is zero")

TIE = 1e-10  # relative gap below which two neighbouring eigenvalues count as equal


def stable_rank(eigenvalues: Tensor) -> Value:
    """Compute |A|_F^2 / |A|_2^2 of a symmetric matrix from the eigenvalues of all its blocks, in any order.

    Example:
        >>> stable_rank(torch.tensor([2.0, 2.0, 1.0])).value
        2.25
    """
    if eigenvalues.numel() == 0 or eigenvalues.max() <= 0:
        return undefined(MATRIX_ZERO)
    return Value((eigenvalues / eigenvalues.max()).square().sum().item())


def subspace_overlap(agop: Agop, rank: int) -> Value:
    """Compute |U_r^T V_r|_F^2 / r of the top-r eigenspaces of F and G: 1 where they coincide.

    With S = A diag(sigma) A^T: U = W^T A sigma^-1/2 and V = W^T B E mu^-1/2, hence U^T V = sigma^1/2 A^T B E mu^-1/2.

    Args:
        agop: G and F.
        rank: r.
    """
    values, vectors = agop.features.spectrum
    values = torch.where(significant(values), values, 0)
    for name, spectrum in (("NFM", values), ("AGOP", agop.values)):
        ordered = spectrum.flatten().sort(descending=True).values
        nonzero = int((ordered > 0).sum())
        if nonzero < rank:
            return undefined(FEW_DIRECTIONS.format(name=name, nonzero=nonzero, rank=rank))
        if nonzero > rank and ordered[rank - 1] - ordered[rank] < TIE * ordered[0]:
            return undefined(NO_EIGENSPACE.format(name=name, rank=rank, next=rank + 1))
    left = vectors * values.sqrt()[:, None] * _top(values, rank)[:, None]
    right = agop.middle_vectors * torch.where(_top(agop.values, rank), agop.values, torch.inf).rsqrt()[:, None]
    return Value((left.mT @ right).square().sum().item() / rank)


def _top(values: Tensor, rank: int) -> Tensor:
    """Mark the ``rank`` largest of all entries."""
    mark = torch.zeros(values.numel(), dtype=torch.bool)
    mark[values.flatten().argsort(descending=True)[:rank]] = True
    return mark.view(values.shape)


def commutator(features: FeatureMatrix, covariance: Tensor) -> Value:
    """Compute |F G - G F| / (|F| |G|): 0 exactly where F and G share eigenvectors.

    F G - G F = W^T D W with D = S K - K S antisymmetric, so |F G - G F|^2 = -tr(D S D S) [derived].

    Args:
        features: W.
        covariance: K, (k, k) or (g, k, k).
    """
    middle, gram = scaled(covariance), features.gram
    product = gram @ features.reduce(middle)
    squared = inner(product, product.mT)  # |G|^2
    if features.squared <= 0 or squared <= features.rounding(middle) ** 2:
        return undefined(EITHER_ZERO.format(name="NFM" if features.squared <= 0 else "AGOP"))
    turned = (product - product.mT) @ gram
    return Value(sqrt(max(-inner(turned, turned.mT), 0.0) / (features.squared * squared)))


def _overlap(layer: LayerContext) -> Value:
    """Compare as many directions as the network has outputs, or as W has rows or columns, if these are fewer."""
    g, k, d = blocked(layer.weight).shape
    return subspace_overlap(layer.agop, rank=min(layer.current.outputs, g * k, g * d))


STANDARD = "standard"


STABLE_RANK_NFM = Quantity(
    name="stable_rank_nfm",
    label="stable rank of NFM",
    meaning="number of directions that dominate the neural feature matrix",
    formula="|F|_F² / |F|₂²",
    source=STANDARD,
    values=lambda layer: stable_rank(layer.features.spectrum[0]),
    range=(1.0, inf),
    depends_on=WEIGHTS,
)

STABLE_RANK_AGOP = Quantity(
    name="stable_rank_agop",
    label="stable rank of AGOP",
    meaning="number of directions that dominate the average gradient outer product",
    formula="|G|_F² / |G|₂²",
    source=STANDARD,
    values=lambda layer: stable_rank(layer.agop.values),
    range=(1.0, inf),
)

STABLE_RANK_K = Quantity(
    name="stable_rank_k",
    label="stable rank of K",
    meaning="number of directions that dominate the covariance K",
    formula="|K|_F² / |K|₂²",
    source=STANDARD,
    values=lambda layer: stable_rank(layer.middle.spectrum),
    range=(1.0, inf),
)

SUBSPACE_OVERLAP = Quantity(
    name="subspace_overlap",
    label="subspace overlap",
    meaning="overlap of the leading eigenspaces of F and G: 1 where they coincide",
    formula="|UᵀV|_F² / r, U and V the top-r eigenvectors of F and G, r = min(C, k, d)",
    source=STANDARD,
    values=_overlap,
    range=(0.0, 1.0),
)

COMMUTATOR = Quantity(
    name="commutator",
    label="commutator",
    meaning="0 exactly when F and G share eigenvectors",
    formula="|FG − GF| / (|F| |G|)",
    source=DERIVED,
    values=lambda layer: commutator(layer.features, layer.middle.matrix),
    range=(0.0, sqrt(2)),
)
