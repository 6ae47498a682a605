"""Arrays for pictures: the two feature matrices, or their leading eigenvectors where they are large, and spectra."""

import numpy as np
import torch
from torch import Tensor

from nfa.alignment.quantities.agop import factor


def pictures(weight: Tensor, covariance: Tensor, whole: int = 256, leading: int = 4) -> dict[str, np.ndarray]:
    """Reduce F = W^T W and G = W^T K W to arrays that are small enough to keep.

    Args:
        weight: W, (k, d) float64, or (g, k, d): the matrices are then block-diagonal, and d below stands for g * d.
        covariance: K, (k, k) or (g, k, k) float64.
        whole: Largest d for which the whole matrices are returned.
        leading: Number of eigenvectors returned for a larger d.

    Returns:
        float32 arrays by name. Where d <= whole, ``nfm`` and ``agop``, (d, d). Else ``nfm_diagonal`` and
        ``agop_diagonal``, (d,), and ``nfm_eigenvectors`` and ``agop_eigenvectors``, (leading, d): those of the largest
        eigenvalues first, each with its largest entry positive, NaN where a matrix has fewer. In both cases the
        spectra, in descending order: ``nfm_spectrum`` and ``agop_spectrum``, (min(k, d),), and ``k_spectrum``, (k,).
        Arrays that depend on K are NaN where K is not finite.
    """
    if weight.dim() == 3:
        weight, covariance = torch.block_diag(*weight), torch.block_diag(*covariance)
    k, d = weight.shape
    finite = bool(torch.isfinite(covariance).all())
    root = factor(covariance) if finite else weight.new_full((k, k), torch.nan)
    arrays: dict[str, Tensor] = {}
    for name, rows in (("nfm", weight), ("agop", root.T @ weight)):  # each matrix is rows^T rows
        if d <= whole:
            arrays[name] = rows.T @ rows
        else:
            arrays[f"{name}_diagonal"] = rows.square().sum(0)
        spectrum, vectors = _decompose(rows, leading)
        if d > whole:
            arrays[f"{name}_eigenvectors"] = vectors
        arrays[f"{name}_spectrum"] = torch.cat([spectrum, spectrum.new_zeros(max(0, min(k, d) - len(spectrum)))])
    arrays["k_spectrum"] = (
        torch.linalg.eigvalsh(covariance).flip(0).clamp(min=0) if finite else weight.new_full((k,), torch.nan)
    )
    return {name: array.float().numpy() for name, array in arrays.items()}


def _decompose(rows: Tensor, leading: int) -> tuple[Tensor, Tensor]:
    """Return the descending eigenvalues (min(m, d),) of rows^T rows, and eigenvectors (leading, d), NaN where fewer."""
    vectors = rows.new_full((leading, rows.shape[1]), torch.nan)
    if not torch.isfinite(rows).all():
        return rows.new_full((min(rows.shape),), torch.nan), vectors
    _, singular, right = torch.linalg.svd(rows, full_matrices=False)
    nonzero = right[singular > max(rows.shape) * torch.finfo(rows.dtype).eps * singular.sum()][:leading]
    largest = nonzero.gather(1, nonzero.abs().argmax(1, keepdim=True))
    vectors[: len(nonzero)] = nonzero * largest.sign()
    return singular.square(), vectors
