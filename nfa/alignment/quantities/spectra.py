"""Numbers that compare the spectra and eigenvectors of F = W^T W, G = W^T K W and K."""

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.agop import Agop, significant
from nfa.alignment.quantities.feature_matrix import FeatureMatrix, scaled
from nfa.alignment.quantities.values import Value, undefined

MATRIX_ZERO = reason("the matrix is zero")
FEW_DIRECTIONS = reason("{name} has rank {nonzero}, fewer than the {rank} directions compared")
NO_EIGENSPACE = reason("{name} has no top-{rank} eigenspace: eigenvalues {rank} and {next} are equal")
EITHER_ZERO = reason("{name} is zero")
WEIGHT_ZERO = reason("W is zero")

TIE = 1e-10  # relative gap below which two neighbouring eigenvalues count as equal


def stable_rank(eigenvalues: Tensor) -> Value:
    """|A|_F^2 / |A|_2^2 of a symmetric matrix from its eigenvalues, in any order and of all its blocks."""
    if eigenvalues.numel() == 0 or eigenvalues.max() <= 0:
        return undefined(MATRIX_ZERO)
    return Value((eigenvalues / eigenvalues.max()).square().sum().item())


def subspace_overlap(agop: Agop, rank: int) -> Value:
    """|U_r^T V_r|_F^2 / r of the top-r eigenspaces of F and G: 1 when they coincide.

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
    """Mark the largest of all entries."""
    mark = torch.zeros(values.numel(), dtype=torch.bool)
    mark[values.flatten().argsort(descending=True)[:rank]] = True
    return mark.view(values.shape)


def commutator(features: FeatureMatrix, covariance: Tensor) -> Value:
    """|F G - G F| / (|F| |G|): 0 exactly when F and G share eigenvectors.

    F G - G F = W^T D W with D = S K - K S antisymmetric, so |F G - G F|^2 = <D, S D S> [derived].

    Args:
        features: W.
        covariance: K, (k, k) or (g, k, k).
    """
    middle = features.reduce(scaled(covariance))
    gram = features.gram
    product = gram @ middle
    difference = product - product.mT
    moments = features.moments(covariance).every
    if moments.aa <= 0 or moments.bb <= 0:
        return undefined(EITHER_ZERO.format(name="NFM" if moments.aa <= 0 else "AGOP"))
    squared = (difference * (gram @ difference @ gram)).sum().item()
    return Value((max(squared, 0.0) / (moments.aa * moments.bb)) ** 0.5)


def localisation(weight: Tensor) -> Value:
    """Mean over units of sum_j w_j^4 / (sum_j w_j^2)^2, the inverse participation ratio of a unit's weights.

    Args:
        weight: W, (k, d) or (g, k, d); a unit is a row. Units without weights are left out.
    """
    rows = weight.double().reshape(-1, weight.shape[-1])
    sizes = rows.abs().amax(1, keepdim=True)
    kept = sizes[:, 0] > 0
    if not kept.any():
        return undefined(WEIGHT_ZERO)
    squares = (rows[kept] / sizes[kept]).square()
    return Value((squares.square().sum(1) / squares.sum(1).square()).mean().item())
