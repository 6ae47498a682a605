"""The slope of K's spectrum against that of V: the exponent p in kappa_i ~ a_i^p.

V is the weights, their change, or the optimizer's first update (``nfa.alignment.quantities.subject``). In V's left
singular basis kappa_i = u_i^T K u_i is the weight that K gives to a direction of strength a_i = s_i^2. A line through
log kappa_i against log a_i has the slope p. Where K = c (V V^T)^p, G = V^T K V is a power 1 + p of F = V^T V, so that
the power of G that fits F best is 1/(1 + p) [derived]. At layer l of L of a deep linear network from balanced
initialisation p = L - l for the weights, which is the depth law (arXiv 2510.15563). For the velocity of gradient flow
there p = (L - l) / (2 L - 1), where the inputs are white and the network computes a fraction of what it is to learn:
with singular values s of each layer, the gradient has s^(L - 1) s^L, and K has s^(2 L - 2 l) [derived].

Each direction counts with the weight a_i^2, its share of |F|^2, as in the correlations, so that the many weak
directions do not decide. The line describes the directions of one matrix, it is not estimated from repeated draws: its
standard error says how well a line describes them. It is the one for unequal variances (White's, times n / (n - 2)),
since the weights are no inverse variances.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan, sqrt

import torch
from torch import Tensor

from nfa.alignment.covariance.layer_covariances import DOUBLE
from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import DERIVED, NOT_NEGATIVE, Quantity
from nfa.alignment.quantities.subject import Subject, SubjectMatrix
from nfa.alignment.quantities.values import Value, Values, undefined

NO_WEIGHT = reason("the NFM is zero: there is no direction for a slope")
BELOW_ROUNDING = reason("no singular value of W - W0 is above the rounding of W: there is no direction for a slope")
ONE_DIRECTION = reason("all of {matrix} that is more than rounding lies along one direction: a line needs two")
ONE_STRENGTH = reason("the singular values of {matrix} are equal: the slope of K's spectrum against them is 0/0")
K_VANISHES = reason("K vanishes along directions that {matrix} uses: the logarithm is not finite")
TWO_DIRECTIONS = reason("a line through two directions has no error")
NO_VARIATION = reason("K is the same along all directions of {matrix}: R^2 is 0/0")
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


def strengths_of(layer: LayerContext, matrix: SubjectMatrix) -> Tensor:
    """Return a_i of every direction of V, (g, m), ascending in each block; 0 beyond the numerical rank of V.

    A singular value is rounding up to the digits of the number type times the largest singular value, of V where V is a
    velocity. A change W - W0 has the rounding of W.
    """
    strengths, scale = matrix.basis.strengths, matrix.basis.features.scale
    rounded = matrix.basis if matrix.limit else layer.left_basis
    digits = torch.finfo(layer.current.own_weight.dtype).eps * max(layer.weight.shape[-2:]) ** 0.5
    rounding = rounded.strengths.max() * (digits * rounded.features.scale / scale) ** 2
    return torch.where(strengths > rounding, strengths, 0)


def turned_covariance(layer: LayerContext, matrix: SubjectMatrix) -> Tensor:
    """Return U^T K U, (g, m, m), its directions as those of ``strengths_of``, K as ``layer.middle`` scales it."""
    return matrix.basis.turned(matrix.basis.features.reduce(layer.middle.matrix))


def kappa_of(layer: LayerContext, matrix: SubjectMatrix) -> Tensor:
    """Return kappa_i of every direction of V, (g, m), in the order of ``strengths_of``; 0 where K vanishes."""
    kappa = layer.once(turned_covariance, matrix).diagonal(dim1=1, dim2=2)
    rounding = max(4 * layer.current.resolution, kappa.shape[1] * DOUBLE) * layer.middle.spectrum.max()
    return torch.where(kappa > rounding, kappa, 0)


def spectrum_slope(strengths: Tensor, kappa: Tensor, matrix: str = "W") -> Slope:
    """Fit a line through log kappa against log a, with the weights a^2.

    Args:
        strengths: a, (n,), those of the numerical rank of V.
        kappa: kappa, (n,), 0 where K vanishes.
        matrix: Names V in a reason why there is no slope.

    Example:
        >>> strengths = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
        >>> round(spectrum_slope(strengths, strengths**2).slope.value, 12)
        2.0
    """
    weights = strengths.square() / strengths.square().sum()
    used = kappa > 0
    if weights[~used].sum() > UNUSED:
        return _undefined(K_VANISHES.format(matrix=matrix))
    x, y, weights = strengths[used].log(), kappa[used].log(), weights[used] / weights[used].sum()
    x, y = x - weights @ x, y - weights @ y
    spread = float(weights @ x.square())
    if spread <= EVEN**2:
        return _undefined(ONE_STRENGTH.format(matrix=matrix))
    slope = float(weights @ (x * y)) / spread
    rest, count = y - slope * x, len(x)
    error = undefined(TWO_DIRECTIONS)
    if count > 2:
        variance = float((weights * x * rest).square().sum()) / spread**2 * count / (count - 2)
        error = Value(sqrt(variance), "", nan)
    total = float(weights @ y.square())
    r2 = undefined(NO_VARIATION.format(matrix=matrix))
    if total > EVEN**2:
        r2 = Value(1 - float(weights @ rest.square()) / total)
    return Slope(Value(slope), error, r2)


def _undefined(note: str) -> Slope:
    """Make a slope whose three values are undefined for one reason."""
    value = undefined(note)
    return Slope(value, value, value)


def _slope(layer: LayerContext, matrix: SubjectMatrix) -> Slope:
    """Fit the line of V."""
    strengths = strengths_of(layer, matrix)
    used = strengths > 0
    if not used.any():
        return _undefined(BELOW_ROUNDING if matrix.basis.strengths.any() else NO_WEIGHT)
    found = strengths[used].sort().values
    # Of a matrix of rank one rounding makes further directions, along which K is arbitrary.
    if found[:-1].square().sum() <= (torch.finfo(layer.current.own_weight.dtype).eps * found[-1]) ** 2:
        return _undefined(ONE_DIRECTION.format(matrix=matrix.name))
    if not (found.sqrt().diff() > matrix.basis.tie_width / matrix.basis.features.scale).any():
        return _undefined(ONE_STRENGTH.format(matrix=matrix.name))
    return spectrum_slope(strengths[used], kappa_of(layer, matrix)[used], matrix.name)


def slope_quantities(subject: Subject) -> tuple[Quantity, ...]:
    """Define the slope of K's spectrum against that of one subject, its standard error, and R^2."""
    name, label = subject.name("spectrum_slope"), f"slope of K's spectrum for {subject.nfc}"

    def values(part: Callable[[Slope], Value]) -> Callable[[LayerContext], Values | Value | None]:
        """Give the function that computes one number of the line."""
        return lambda layer: subject.of(layer, lambda layer, matrix: part(layer.once(_slope, matrix)))

    slope = Quantity(
        name=name,
        label=label,
        meaning=f"exponent p with which K's weight κ on the directions {subject.whose} grows with their strength a; "
        f"the best power of {subject.nfc} is then 1/(1 + p)",
        formula=f"slope of log κᵢ on log aᵢ, weighted by aᵢ²; κᵢ = uᵢᵀKuᵢ, aᵢ = sᵢ², {subject.symbol} = USVᵀ",
        source=DERIVED,
        values=values(lambda line: line.slope),
        range=(-inf, inf),
        compares=subject.compares,
        optional=subject.optional,
    )
    error = Quantity(
        name=f"{name}_error",
        label=f"{label}, standard error",
        meaning="standard error of that slope as a description of these directions",
        formula="weighted least squares, variance for unequal variances times n/(n − 2)",
        source="White, Econometrica 48 (1980)",
        values=values(lambda line: line.error),
        range=NOT_NEGATIVE,
        compares=subject.compares,
        optional=subject.optional,
    )
    r2 = Quantity(
        name=f"{name}_r2",
        label=f"{label}, R²",
        meaning="share of the variance of log κ that the line explains",
        formula="1 − Σaᵢ²rᵢ² / Σaᵢ²(log κᵢ − mean)²",
        source="standard",
        values=values(lambda line: line.r2),
        range=(0.0, 1.0),
        compares=subject.compares,
        optional=subject.optional,
    )
    return slope, error, r2
