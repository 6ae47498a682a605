"""Numbers that compare the spectra and eigenvectors of F = W^T W, G = W^T K W and K."""

import torch
from torch import Tensor

from nfa.alignment.agop import Agop, significant
from nfa.alignment.feature_matrix import FeatureMatrix, scaled
from nfa.alignment.values import Value, undefined

TIE = 1e-10  # relative gap below which two neighbouring eigenvalues count as equal


def stable_rank(eigenvalues: Tensor) -> Value:
    """|A|_F^2 / |A|_2^2 of a symmetric matrix from its ascending eigenvalues."""
    if len(eigenvalues) == 0 or eigenvalues[-1] <= 0:
        return undefined("the matrix is zero")
    return Value((eigenvalues / eigenvalues[-1]).square().sum().item())


def subspace_overlap(agop: Agop, rank: int) -> Value:
    """|U_r^T V_r|_F^2 / r of the top-r eigenspaces of F and G: 1 when they coincide.

    With S = A diag(sigma) A^T: U = W^T A sigma^-1/2 and V = W^T B E mu^-1/2, hence U^T V = sigma^1/2 A^T B E mu^-1/2.

    Args:
        agop: G and F.
        rank: r.
    """
    values, vectors = torch.linalg.eigh(agop.features.gram)
    keep = significant(values)
    values, vectors = values[keep], vectors[:, keep]
    for name, spectrum in (("NFM", values), ("AGOP", agop.values)):
        if len(spectrum) < rank:
            return undefined(f"{name} has rank {len(spectrum)}, fewer than the {rank} directions compared")
        if len(spectrum) > rank and spectrum[-rank] - spectrum[-rank - 1] < TIE * spectrum[-1]:
            return undefined(f"{name} has no top-{rank} eigenspace: eigenvalues {rank} and {rank + 1} are equal")
    left = vectors[:, -rank:] * values[-rank:].sqrt()
    right = agop.middle_vectors[:, -rank:] / agop.values[-rank:].sqrt()
    return Value((left.T @ right).square().sum().item() / rank)


def commutator(features: FeatureMatrix, covariance: Tensor) -> Value:
    """|F G - G F| / (|F| |G|): 0 exactly when F and G share eigenvectors.

    F G - G F = W^T D W with D = S K - K S antisymmetric, so |F G - G F|^2 = <D, S D S> [derived].

    Args:
        features: W.
        covariance: K, (k, k).
    """
    middle = features.reduce(scaled(covariance))
    gram = features.gram
    product = gram @ middle
    difference = product - product.T
    moments = features.moments(covariance).every
    if moments.aa <= 0 or moments.bb <= 0:
        return undefined(f"{'NFM' if moments.aa <= 0 else 'AGOP'} is zero")
    squared = (difference * (gram @ difference @ gram)).sum().item()
    return Value((max(squared, 0.0) / (moments.aa * moments.bb)) ** 0.5)
