"""The two factors of a correlation from two independent sketches of K, without bias and with standard errors.

Both factors are ratios of forms of K: the product <a, a o kappa> is linear, |M|^2 and its part on the diagonal blocks
are quadratic. The quadratic forms take one sketch on each side, <M1, M2>, so that the noise of the probes does not
inflate them; the product is the root of the products by both sketches, in which noise that only scales a sketch cancels
(``nfa.alignment.quantities.sketch``). The product of both factors is then the unbiased correlation. The derivatives
by K, from which the standard errors are made, are [derived]

    d directional = directional (<M o B, dM> / |M o B|^2 - <M, dM> / |M|^2)        B marks the diagonal blocks
    d spectral    = spectral (<diag a, dM> / <a, a o kappa> - <M o B, dM> / |M o B|^2)
    dM = S U^T dK U S
"""

from math import sqrt

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.correlation import NFM_ZERO, bounded
from nfa.alignment.quantities.forms import AllEntries, Forms
from nfa.alignment.quantities.sketch import Estimator
from nfa.alignment.quantities.split import FACTORS, LeftBasis
from nfa.alignment.quantities.values import Value, undefined

NOISE = reason("the two sketches of K differ by more than the number: more probes are needed")


def unbiased_split(estimator: Estimator, weight: Tensor, tie_width: float) -> dict[str, Value]:
    """Split the cosine of W^T W and W^T K W at power 1 by two sketches of K.

    Args:
        estimator: K in blocks of samples.
        weight: W, (k, d) or (g, k, d) float64.
        tie_width: Distance of two singular values of W that rounding of W may have parted.

    Returns:
        "directional" and "spectral", each with its standard error.
    """
    forms = Forms(weight, estimator.blocks, estimator.first, estimator.second, torch.float64)
    basis = LeftBasis(forms.features, tie_width)
    if forms.features.squared == 0:
        return dict.fromkeys(FACTORS, undefined(NFM_ZERO))
    every = AllEntries(forms)
    first, second = (basis.middle(reduced) for reduced in forms.reduced)
    aligned = _inner(basis.diagonal_blocks(first), basis.diagonal_blocks(second))
    whole, squared_product = every.squared, every.products[0] * every.products[1]
    if estimator.sampled:
        own = every.of_each_block()
        whole = estimator.of_population(whole, own.squared)
        squared_product = estimator.of_population(squared_product, float(own.products[0] @ own.products[1]))
        aligned = estimator.of_population(aligned, _own_aligned(forms, basis))
    if whole <= 0 or aligned <= 0:
        return dict.fromkeys(FACTORS, undefined(NOISE))
    strengths = basis.strengths
    size = forms.features.squared
    product = estimator.numerator(every.products, squared_product)
    directional, spectral = sqrt(aligned / whole), product / sqrt(size * aligned)
    middle = (first + second) / 2
    blocks = basis.diagonal_blocks(middle)
    blocks = torch.diag_embed(blocks) if basis.tied is None else blocks
    by_product = torch.diag_embed(strengths) / product if product else torch.zeros_like(middle)
    slopes = {
        "directional": directional * (blocks / aligned - middle / whole),
        "spectral": spectral * (by_product - blocks / aligned),
    }
    values = {"directional": directional, "spectral": spectral}
    return {
        name: estimator.with_error(Value(bounded(values[name])), forms, _unturned(basis, slopes[name]))
        for name in FACTORS
    }


def _inner(first: Tensor, second: Tensor) -> float:
    """Compute the inner product of two tensors."""
    return (first * second).sum().item()


def _unturned(basis: LeftBasis, slope: Tensor) -> Tensor:
    """Turn a derivative by M, (g, m, m), into a derivative by the reduced K."""
    columns = basis.vectors * basis.strengths.sqrt()[:, None]
    turned: Tensor = columns @ slope @ columns.mT
    return turned


def _own_aligned(forms: Forms, basis: LeftBasis) -> float:
    """Sum over blocks of samples the inner product of both sketches of M on its diagonal blocks."""
    columns = basis.full_vectors * basis.strengths.sqrt()[:, None]  # (g, k, m)
    total = 0.0
    for parts in forms.blocks:
        if basis.tied is None:
            total += _inner(*(part.diagonal(columns) for part in parts))
        else:
            total += _inner(
                *(basis.diagonal_blocks(columns.mT @ part.matrix().to(columns) @ columns) for part in parts)
            )
    return total
