"""Arrays to look at: the two feature matrices, or what fits of them, and the spectra."""

import numpy as np
import torch
from torch import Tensor

from nfa.alignment.quantities.agop import factor


def pictures(weight: Tensor, covariance: Tensor, whole: int = 256, leading: int = 4) -> dict[str, np.ndarray]:
    """Reduce F = W^T W and G = W^T K W to arrays small enough to keep.

    Args:
        weight: W, (k, d) float64, or (g, k, d): the matrices are then block-diagonal, and d stands for g * d.
        covariance: K, (k, k) or (g, k, k) float64.
        whole: Largest d for which the matrices are given whole.
        leading: Number of eigenvectors given beyond it.

    Returns:
        float32 arrays: ``nfm`` and ``agop`` (d, d) when d <= whole, else ``nfm_diagonal``, ``agop_diagonal`` (d,) and
        ``nfm_eigenvectors``, ``agop_eigenvectors`` (leading, d), leading first, each with its largest entry positive,
        NaN where a matrix has fewer; always the descending spectra ``nfm_spectrum`` and ``agop_spectrum`` (min(k, d),)
        and ``k_spectrum`` (k,). What depends on K is NaN where K is not finite.
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
    """Descending eigenvalues (min(m, d),) of rows^T rows, and its leading eigenvectors (leading, d), else NaN."""
    vectors = rows.new_full((leading, rows.shape[1]), torch.nan)
    if not torch.isfinite(rows).all():
        return rows.new_full((min(rows.shape),), torch.nan), vectors
    _, singular, right = torch.linalg.svd(rows, full_matrices=False)
    nonzero = right[singular > max(rows.shape) * torch.finfo(rows.dtype).eps * singular.sum()][:leading]
    largest = nonzero.gather(1, nonzero.abs().argmax(1, keepdim=True))
    vectors[: len(nonzero)] = nonzero * largest.sign()
    return singular.square(), vectors
