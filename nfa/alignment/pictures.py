"""Arrays for pictures: the two feature matrices and their spectra, and K in the left singular basis of the weights."""

import numpy as np
import torch
from torch import Tensor

from nfa.alignment.covariance.layer_covariances import LayerCovariance
from nfa.alignment.quantities.agop import factor
from nfa.alignment.quantities.feature_matrix import largest
from nfa.alignment.quantities.layer import LayerContext, Reference
from nfa.alignment.quantities.slope import kappa_of, strengths_of, turned_covariance
from nfa.alignment.quantities.subject import weights

LEADING = 32  # directions of W along which the entries of K are kept, strongest first


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


def left_pictures(layer: LayerCovariance) -> dict[str, np.ndarray]:
    """Reduce K in the left singular basis of W = U S V^T to arrays that are small enough to keep.

    The directions u_i are those of all blocks of W, strongest first; entries of K between two blocks are 0. Among equal
    singular values, to the rounding of W, the directions are those in which K is diagonal, largest kappa first.

    Args:
        layer: W, (k, d) or (g, k, d), and K, (k, k) or (g, k, k).

    Returns:
        float32 arrays by name. ``left_k``: |u_i^T K u_j| of the strongest directions, (r, r) with
        r = min(g * min(k, d), 32), divided by its largest entry. That entry is on the diagonal, since K is positive
        semi-definite, so it is the largest of ``kappa[:r]``. ``strengths``: a_i = s_i^2, (g * min(k, d),), descending,
        0 beyond the numerical rank of W. ``kappa``: u_i^T K u_i, (g * min(k, d),), 0 where it is rounding. ``left_k``
        and ``kappa`` are NaN where K is not finite or no more than rounding.

    Example:
        >>> from nfa.alignment import measure_covariances
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> layer = measure_covariances(model, torch.randn(20, 6)).layers["0"]
        >>> {name: array.shape for name, array in left_pictures(layer).items()}
        {'left_k': (4, 4), 'strengths': (4,), 'kappa': (4,)}
    """
    context = LayerContext(layer, Reference(), seed=0)
    matrix = weights(context)
    strengths = strengths_of(context, matrix)
    blocks, size = strengths.shape
    if context.no_covariance:
        turned, kappa = (
            strengths.new_full((blocks, size, size), torch.nan),
            strengths.new_full(strengths.shape, torch.nan),
        )
    else:
        turned, kappa = context.once(turned_covariance, matrix), kappa_of(context, matrix)
    # Reversed within a block, where kappa ascends among equal strengths, and merged over the blocks.
    order = strengths.flip(1).flatten().argsort(descending=True, stable=True)
    block, place = order // size, size - 1 - order % size
    first, at = block[:LEADING, None], place[:LEADING, None]
    left = torch.where(first == first.T, turned[first, at, at.T].abs(), 0)
    arrays = {
        "left_k": left / largest(left),
        "strengths": strengths[block, place] * context.features.scale**2,
        "kappa": kappa[block, place] * (largest(layer.covariance) / largest(context.middle.matrix)),
    }
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
