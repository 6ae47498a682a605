"""The control: K's spectrum without its directions.

The correlation of W^T W with W^T Q K Q^T W over random orthogonal Q, distributed by Haar measure. As Q V is distributed
as Q for any fixed orthogonal V, K may be replaced by the diagonal matrix of its eigenvalues.
"""

from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor

from nfa.alignment.agop import Agop, factor, significant
from nfa.alignment.feature_matrix import FeatureMatrix
from nfa.alignment.values import CORRELATIONS, Convention, Value, undefined

DRAWS = 20  # at power 1
DRAWS_DECOMPOSED = 5  # at other powers; its standard error says what that costs

# Powers other than 1 take an eigendecomposition per rotation, which costs the cube of min(k, d): at 1,024 more than all
# the rest together.
LARGEST_DECOMPOSED = 256
TOO_LARGE = f"the control is computed at power 1 only where min(k, d) is more than {LARGEST_DECOMPOSED}"


def haar_control(
    features: FeatureMatrix,
    eigenvalues: Tensor,
    powers: Mapping[str, float],
    resolution: float,
    generator: torch.Generator,
) -> tuple[dict[Convention, Value], dict[Convention, Value]]:
    """Correlate under random rotations of K.

    Args:
        features: W.
        eigenvalues: Of K, ascending, (k,).
        powers: Power name -> exponent, none NaN.
        resolution: Relative rounding of K.
        generator: Source of Q, on the CPU.

    Returns:
        Mean over m rotations with its standard error sd / sqrt(m), and the standard deviation over them; both by
        (correlation, power). m is 20 at power 1 and 5 at others.
    """
    draws: dict[Convention, list[Value]] = {}
    decomposed = len(features.rows) <= LARGEST_DECOMPOSED
    for number in range(DRAWS):
        rotation = haar(len(eigenvalues), generator)
        rotated = None
        if decomposed and number < DRAWS_DECOMPOSED:
            rotated = _rotated(features, eigenvalues, rotation, resolution)
        for power, exponent in powers.items():
            if exponent == 1:
                found = features.moments((rotation * eigenvalues) @ rotation.T).correlations()
            elif rotated is not None:
                found = rotated.power_moments(exponent).correlations()
            else:
                found = {} if decomposed else dict.fromkeys(CORRELATIONS, undefined(TOO_LARGE))
            for correlation, value in found.items():
                draws.setdefault((correlation, power), []).append(value)
    means, deviations = {}, {}
    for convention, values in draws.items():
        means[convention], deviations[convention] = _summary(values)
    return means, deviations


def _rotated(features: FeatureMatrix, eigenvalues: Tensor, rotation: Tensor, resolution: float) -> Agop:
    """Decompose W^T Q K Q^T W."""
    keep = significant(eigenvalues, resolution)
    root = rotation[:, keep] * eigenvalues[keep].sqrt()
    rounding = features.rounding(eigenvalues)  # |Q K Q^T| is the norm of K's eigenvalues
    if features.basis is not None:
        root = factor(features.reduce(root @ root.T))
    return Agop(features, root, rounding)


def haar(size: int, generator: torch.Generator) -> Tensor:
    """Draw an orthogonal matrix from Haar measure: QR of a Gaussian, signs fixed (Mezzadri, arXiv math-ph/0609050)."""
    gaussian = torch.randn(size, size, dtype=torch.float64, generator=generator)
    orthogonal, triangular = torch.linalg.qr(gaussian)
    rotation: Tensor = orthogonal * triangular.diagonal().sign()
    return rotation


def _summary(values: list[Value]) -> tuple[Value, Value]:
    """Mean with its standard error, and standard deviation, over draws."""
    notes = [value.note for value in values if value.note]
    if notes:
        return undefined(notes[0]), undefined(notes[0])
    draws = torch.tensor([value.value for value in values], dtype=torch.float64)
    deviation = draws.std().item()
    return Value(draws.mean().item(), stderr=deviation / sqrt(len(values))), Value(deviation, stderr=float("nan"))
