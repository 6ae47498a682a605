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

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.correlation import NFM_ZERO
from nfa.alignment.quantities.sketch import Estimator
from nfa.alignment.quantities.sketch_forms import AllEntries, Forms
from nfa.alignment.quantities.split import FACTORS, Factors, LeftBasis
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
        aligned = estimator.of_population(aligned, own_aligned(forms, basis))
    if whole <= 0 or aligned <= 0:
        return dict.fromkeys(FACTORS, undefined(NOISE))
    factors = Factors(forms.features.squared, estimator.numerator(every.products, squared_product), aligned, whole)
    values, by_covariance = factors.values(), slopes(basis, (first + second) / 2, factors)
    return {name: estimator.with_error(values[name], forms, by_covariance[name]) for name in FACTORS}


def slopes(basis: LeftBasis, middle: Tensor, factors: Factors) -> dict[str, Tensor]:
    """Return the derivative of each factor by the reduced K, (g, m, m).

    Args:
        basis: The left singular basis of W.
        middle: M, (g, m, m).
        factors: The sums that the factors are made of.
    """
    blocks = basis.diagonal_blocks(middle)
    blocks = (torch.diag_embed(blocks) if basis.tied is None else blocks) / factors.aligned
    by_product = torch.diag_embed(basis.strengths) / (factors.product or torch.inf)
    columns = basis.vectors * basis.strengths.sqrt()[:, None]
    values = {name: value.value for name, value in factors.values().items()}
    by_middle = {
        "directional": values["directional"] * (blocks - middle / factors.whole),
        "spectral": values["spectral"] * (by_product - blocks),
    }
    return {name: columns @ slope @ columns.mT for name, slope in by_middle.items()}


def _inner(first: Tensor, second: Tensor) -> float:
    """Compute the inner product of two tensors."""
    return (first * second).sum().item()


def own_aligned(forms: Forms, basis: LeftBasis) -> float:
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
