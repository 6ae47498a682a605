"""The slope of K's spectrum against that of W: the exponent p in kappa_i ~ a_i^p.

In W's left singular basis kappa_i = u_i^T K u_i is the weight that K gives to a direction of strength a_i = s_i^2. A
line through log kappa_i against log a_i has the slope p. Where K = c (W W^T)^p, G = W^T K W is a power 1 + p of F, so
that the power of G that fits F best is 1/(1 + p) [derived]. Deep linear networks from balanced initialisation have
p = L - l at layer l of L, which is the depth law (arXiv 2510.15563).

Each direction counts with the weight a_i^2, its share of |F|^2, as in the correlations, so that the many weak
directions do not decide. The line describes the directions of one matrix, it is not estimated from repeated draws: its
standard error says how well a line describes them. It is the one for unequal variances (White's, times n / (n - 2)),
since the weights are no inverse variances.
"""

from dataclasses import dataclass
from math import nan, sqrt

import torch
from torch import Tensor

from nfa.alignment.covariance.layer_covariances import DOUBLE
from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import DERIVED, NOT_NEGATIVE, ONE_NUMBER, Quantity
from nfa.alignment.quantities.values import Value, undefined

NO_WEIGHT = reason("the NFM is zero: there is no direction for a slope")
ONE_STRENGTH = reason("the singular values of W are equal: the slope of K's spectrum against them is 0/0")
K_VANISHES = reason("K vanishes along directions that W uses: the logarithm is not finite")
TWO_DIRECTIONS = reason("a line through two directions has no error")
NO_VARIATION = reason("K is the same along all directions of W: R^2 is 0/0")
UNUSED = 1e-4  # share of |F|^2 in directions along which K vanishes, up to which they are left out
EVEN = 1e-10  # relative variation of logarithms below which they are equal


@dataclass(frozen=True)
class Slope:
    """A weighted line through log kappa against log a.

    Attributes:
        slope: p.
        error: Standard error of p as a description of these directions.
        r2: Share of the weighted variance of log kappa on the line.
    """

    slope: Value
    error: Value
    r2: Value


def strengths_of(layer: LayerContext) -> Tensor:
    """Return a_i of every direction of W, (g, m), ascending in each block; 0 beyond the numerical rank of W."""
    strengths = layer.left_basis.strengths
    digits = torch.finfo(layer.current.own_weight.dtype).eps * max(layer.weight.shape[-2:]) ** 0.5
    return torch.where(strengths > strengths.max() * digits**2, strengths, 0)


def turned_covariance(layer: LayerContext) -> Tensor:
    """Return U^T K U, (g, m, m), its directions as those of ``strengths_of``, K as ``layer.middle`` scales it."""
    return layer.left_basis.turned(layer.features.reduce(layer.middle.matrix))


def kappa_of(layer: LayerContext) -> Tensor:
    """Return kappa_i of every direction of W, (g, m), in the order of ``strengths_of``; 0 where K vanishes."""
    kappa = layer.once(turned_covariance).diagonal(dim1=1, dim2=2)
    rounding = max(4 * layer.current.resolution, kappa.shape[1] * DOUBLE) * layer.middle.spectrum.max()
    return torch.where(kappa > rounding, kappa, 0)


def spectrum_slope(strengths: Tensor, kappa: Tensor) -> Slope:
    """Fit a line through log kappa against log a, with the weights a^2.

    Args:
        strengths: a, (n,), those of the numerical rank of W.
        kappa: kappa, (n,), 0 where K vanishes.

    Example:
        >>> strengths = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
        >>> round(spectrum_slope(strengths, strengths**2).slope.value, 12)
        2.0
    """
    weights = strengths.square() / strengths.square().sum()
    used = kappa > 0
    if weights[~used].sum() > UNUSED:
        return _undefined(K_VANISHES)
    x, y, weights = strengths[used].log(), kappa[used].log(), weights[used] / weights[used].sum()
    x, y = x - weights @ x, y - weights @ y
    spread = float(weights @ x.square())
    if spread <= EVEN**2:
        return _undefined(ONE_STRENGTH)
    slope = float(weights @ (x * y)) / spread
    rest, count = y - slope * x, len(x)
    error = undefined(TWO_DIRECTIONS)
    if count > 2:
        variance = float((weights * x * rest).square().sum()) / spread**2 * count / (count - 2)
        error = Value(sqrt(variance), "", nan)
    total = float(weights @ y.square())
    r2 = Value(1 - float(weights @ rest.square()) / total) if total > EVEN**2 else undefined(NO_VARIATION)
    return Slope(Value(slope), error, r2)


def _undefined(note: str) -> Slope:
    """Make a slope whose three values are undefined for one reason."""
    value = undefined(note)
    return Slope(value, value, value)


def _of_layer(layer: LayerContext) -> Slope:
    """Fit the line of a layer."""
    strengths = strengths_of(layer)
    used = strengths > 0
    if not used.any():
        return _undefined(NO_WEIGHT)
    gaps = strengths[used].sqrt().sort().values.diff()
    if not (gaps > layer.tie_width / layer.features.scale).any():
        return _undefined(ONE_STRENGTH)
    return spectrum_slope(strengths[used], kappa_of(layer)[used])


SPECTRUM_SLOPE = Quantity(
    name="spectrum_slope",
    label="slope of K's spectrum",
    meaning="exponent p with which K's weight κ on W's directions grows with their strength a; the best power of the "
    "ansatz is then 1/(1 + p)",
    formula="slope of log κᵢ on log aᵢ, weighted by aᵢ²; κᵢ = uᵢᵀKuᵢ, aᵢ = sᵢ², W = USVᵀ",
    source=DERIVED,
    values=lambda layer: layer.once(_of_layer).slope,
    rows=ONE_NUMBER,
    range=(-float("inf"), float("inf")),
)

SPECTRUM_SLOPE_ERROR = Quantity(
    name="spectrum_slope_error",
    label="slope of K's spectrum, standard error",
    meaning="standard error of that slope as a description of these directions",
    formula="weighted least squares, variance for unequal variances times n/(n − 2)",
    source="White, Econometrica 48 (1980)",
    values=lambda layer: layer.once(_of_layer).error,
    rows=ONE_NUMBER,
    range=NOT_NEGATIVE,
)

SPECTRUM_SLOPE_R2 = Quantity(
    name="spectrum_slope_r2",
    label="slope of K's spectrum, R²",
    meaning="share of the variance of log κ that the line explains",
    formula="1 − Σaᵢ²rᵢ² / Σaᵢ²(log κᵢ − mean)²",
    source="standard",
    values=lambda layer: layer.once(_of_layer).r2,
    rows=ONE_NUMBER,
    range=(0.0, 1.0),
)
