"""The control by random rotation: K's spectrum without its directions.

Weights correlate with W^T K W before anything is learned, as both matrices contain W. The controls show how much: they
are the correlation of W^T W with W^T Q K Q^T W for random orthogonal Q, drawn from Haar measure. As Q V is distributed
as Q for any fixed orthogonal V, K may be replaced by the diagonal matrix of its eigenvalues.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.agop import Agop, factor, significant
from nfa.alignment.quantities.ansatz import NO_DEPTH_POWER
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.left_matrix import LeftMatrix
from nfa.alignment.quantities.quantity import EVERY_CONVENTION, NOT_NEGATIVE, OURS, POWER_ONE, Quantity
from nfa.alignment.quantities.rotations import (
    DRAWS,
    LARGEST_DRAWN,
    STRONGEST,
    Beyond,
    TurnedCovariance,
    at_once,
)
from nfa.alignment.quantities.split import Factors, LeftBasis
from nfa.alignment.quantities.values import Value, Values, undefined
from nfa.conventions import CORRELATIONS

DRAWS_DECOMPOSED = 5  # rotations at other powers; the standard error shows what that costs

# Powers other than 1 take an eigendecomposition per rotation, which costs the cube of min(k, d): at 1,024 more than
# everything else together.
LARGEST_DECOMPOSED = 256
LARGEST_IN_DOUBLE = 128
# Columns of W from which the diagonal of W^T Q K Q^T W would cost more than the rest of a draw, while its squares are
# a small share of all: they enter the control of the off-diagonal correlation by their mean over signs.
MANY_COLUMNS = 256
LITTLE_VARIATION = 1e-2  # share of |F|^2 below which the entries of F hardly vary
EXPECTED = reason(
    f"Q is drawn for W's {STRONGEST} strongest directions, where k is more than {LARGEST_DRAWN}; the others enter by "
    "their second moments over Q"
)
TOO_LARGE = reason(
    f"the control is computed at power 1 only where min(k, d) is more than {LARGEST_DECOMPOSED} or k more than "
    f"{LARGEST_DRAWN}"
)
NO_CONTROL = reason("no control: no rotation of K changes this correlation")
# A standard deviation over rotations up to this size is rounding, in float64 and in float32.
STILL, STILL_SINGLE = 1e-11, 3e-6

Drawn = tuple[str, str | None, str | None]  # which number, its correlation, its power


@dataclass(frozen=True)
class Controls:
    """Means and standard deviations over random rotations of K.

    Attributes:
        means: (number, correlation, power) -> mean with its standard error. The number is "nfc" for the correlation
            itself, "directional" or "spectral" for its factors, and "left" for the correlation of W W^T with K.
        deviations: The same keys -> standard deviation.
    """

    means: dict[Drawn, Value]
    deviations: dict[Drawn, Value]


def haar_control(
    basis: LeftBasis,
    turned: TurnedCovariance,
    powers: Mapping[str, float],
    resolution: float,
    *,
    readout: bool = False,
) -> Controls:
    """Compute correlations and their factors under random rotations of K.

    Args:
        basis: W, (k, d) or (g, k, d), with its left singular basis.
        turned: K with random directions, drawn for min(k, d) rows.
        powers: Power name -> exponent, none NaN.
        resolution: Relative rounding of K's eigenvalues.
        readout: True if h is the network's output. There K is the identity, and both the correlation and its control
            are 1: a known answer. At any other layer a control that no rotation changes is undefined.

    Returns:
        Means and standard deviations over m rotations; the standard error of a mean is sd / sqrt(m). m is 20 at power 1
        and 5 at other powers.
    """
    features, eigenvalues = basis.features, turned.eigenvalues
    varied = features.variation >= LITTLE_VARIATION
    # For a larger k float32 is twice as fast and right to 1e-6, unless the entries of F hardly vary.
    single = turned.whole and eigenvalues.shape[1] > LARGEST_IN_DOUBLE and varied
    draws: dict[Drawn, list[Value]] = {}
    for found in _at_power_one(basis, turned, torch.float32 if single else torch.float64):
        for key, value in found.items():
            draws.setdefault(key, []).append(value)
    others = {power: exponent for power, exponent in powers.items() if exponent != 1}
    decomposed = turned.whole and features.rows.shape[1] <= LARGEST_DECOMPOSED
    for number in range(DRAWS_DECOMPOSED if others and decomposed else 0):
        agop = _rotated(basis, turned, number, resolution)
        for power, exponent in others.items():
            for name, value in agop.power_moments(exponent).correlations().items():
                draws.setdefault(("nfc", name, power), []).append(value)
    known = readout and constant(eigenvalues)
    # K is then a multiple of the identity in each block.
    even = bool((eigenvalues.amax(1) - eigenvalues.amin(1) <= STILL * eigenvalues.amax(1)).all())
    undrawn = basis.strengths.shape[1] > turned.directions.shape[2]
    means, deviations = {}, {}
    for key, values in draws.items():
        rounding = inf if even else STILL_SINGLE if single and key[2] in (None, "1") else STILL
        mean, deviation = over_draws(values, still_up_to(basis, key, rounding, known=known))
        if undrawn and mean.value == mean.value:  # the draws vary by less than all of Q does
            mean, deviation = Value(mean.value, EXPECTED, mean.stderr), undefined(EXPECTED)
        means[key], deviations[key] = mean, deviation
    for power, exponent in powers.items():
        for name in CORRELATIONS:
            if exponent == 1:
                means["nfc", name, power] = means["nfc", name, "1"]
            elif not decomposed:
                means["nfc", name, power] = undefined(TOO_LARGE)
    return Controls(means, deviations)


def still_up_to(basis: LeftBasis, key: Drawn, rounding: float, *, known: bool) -> float:
    """Give the standard deviation over rotations up to which no rotation changes a number.

    Args:
        basis: W.
        key: The number.
        rounding: The standard deviation that is rounding of the algebra.
        known: The number is given although no rotation changes it.
    """
    if known:
        return -1.0
    # Where W is orthonormal, what is left is rounding of W.
    return inf if basis.is_level and key[1] in (None, "cosine") else rounding


def constant(eigenvalues: Tensor) -> bool:
    """Tell whether all eigenvalues of K are equal, in all blocks together: K is then a multiple of the identity."""
    low, high = (bound.item() for bound in eigenvalues.aminmax())
    return high - low <= STILL * high


def _at_power_one(basis: LeftBasis, turned: TurnedCovariance, dtype: torch.dtype) -> Iterator[dict[Drawn, Value]]:
    """Correlate at power 1 for each rotation, in the left singular basis of W, where most sums are over squares.

    Args:
        basis: W, with its left singular basis. A stands for U^T Q K Q^T U, with the strongest directions first: these
            are drawn, and the many weak ones enter by their expectation where not all are.
        turned: The rotations.
        dtype: Number type of the large products.
    """
    features, inner, squares = basis.features, turned.inner(dtype), turned.squares(dtype)
    drawn = inner.shape[-1]
    strengths = basis.strengths.flip(1)
    strong = strengths[:, :drawn]
    tied = None if basis.tied is None else basis.tied.flip(1, 2)
    sums = basis.vectors.flip(2).mT @ features.row_sums[..., None]
    kappa = inner.diagonal(dim1=2, dim2=3).double()
    if tied is None:
        aligned = (kappa * strong).square().sum((1, 2))
    else:
        aligned = _summed(squares * (tied[:, :drawn, :drawn] * strong[..., None] * strong[:, None]).to(dtype))
    of_draws = {
        "total": ((inner @ sums[:, :drawn].to(dtype)).double() * sums[:, :drawn]).sum((1, 2, 3)),
        "product": (kappa * strong.square()).sum((1, 2)),
        "aligned": aligned,
        "whole": ((squares @ strong.to(dtype)[..., None])[..., 0].double() * strong).sum((1, 2)),
    }
    if strengths.shape[1] > drawn:
        _add_weak(of_draws, turned.beyond, strengths, tied, sums[..., 0])
    many = features.shape[1] >= MANY_COLUMNS
    diagonals = _sums_over_diagonals(basis, turned, dtype) if many else _diagonals(basis, turned, dtype)
    moments = features.moments_of_each(of_draws["total"], of_draws["whole"], of_draws["product"], diagonals)
    sums_of_factors = zip(*(of_draws[name].tolist() for name in ("product", "aligned", "whole")), strict=True)
    of_left = _of_left(basis.left, strengths, turned, dtype)
    for number, (of_weights, factors) in enumerate(zip(moments, sums_of_factors, strict=True)):
        found: dict[Drawn, Value] = {("nfc", name, "1"): value for name, value in of_weights.correlations().items()}
        found |= {(name, None, None): value for name, value in Factors(features.squared, *factors).values().items()}
        found |= {("left", name, None): value for name, value in of_left[number].items()}
        yield found


def _diagonals(basis: LeftBasis, turned: TurnedCovariance, dtype: torch.dtype) -> Tensor:
    """Compute the diagonal of G = W^T U A U^T W for each A, (draws, g, d)."""
    inner = turned.inner(dtype)
    rows = basis.strongest_rows(inner.shape[-1])
    some_rows = rows.to(dtype)
    parts = inner.split(at_once(inner, rows.shape[-1]))
    diagonals = torch.cat([((some @ some_rows) * some_rows).sum(2).double() for some in parts])
    if basis.strengths.shape[1] == inner.shape[-1]:
        return diagonals
    return diagonals + turned.beyond.diagonal[..., None] * (basis.features.diagonal - rows.square().sum(1))


def _sums_over_diagonals(
    basis: LeftBasis, turned: TurnedCovariance, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum G_jj, G_jj^2 and F_jj G_jj over the diagonal of G = W^T U A U^T W for each A, three times (draws,).

    With the rows p_i of U^T W, G_jj = sum_ik p_ij p_kj A_ik. The sum of its squares is the mean over all signs of the
    rows of Q, which leave the distribution of A as it is and turn A_ik into s_i s_k A_ik [derived]. With kappa = diag A
    and H_ik = sum_j p_ij^2 p_kj^2,

        mean of sum_j G_jj^2 = kappa^T H kappa + 2 sum_(i != k) H_ik A_ik^2

    Where only the strongest directions are drawn, the others act on what W has in column j beside them, of the squared
    length w_j, by their expectation: A is turned at random there, so that its form has the second moment
    (a + 2 b) w_j^2, see ``TurnedCovariance.beyond``.
    """
    features, inner, squares = basis.features, turned.inner(dtype), turned.squares(dtype)
    rows = basis.strongest_rows(inner.shape[-1]).to(dtype)
    kappa = inner.diagonal(dim1=2, dim2=3).double()
    own = features.diagonal
    lengths = rows.square()
    weighted = (rows * own.to(dtype)[:, None]) @ rows.mT
    common = lengths @ lengths.mT
    trace = (kappa * lengths.sum(2).double()).sum((1, 2))
    cross = _summed(inner * weighted)
    on_diagonal = ((kappa[..., None, :] @ common.double())[..., 0, :] * kappa).sum((1, 2))
    common.diagonal(dim1=1, dim2=2).zero_()
    squared = on_diagonal + 2 * _summed(squares * common)
    if basis.strengths.shape[1] > inner.shape[-1]:
        beyond = turned.beyond
        rest = own - lengths.sum(1).double()
        beside = (lengths @ rest.to(dtype)[..., None])[..., 0].double()  # (g, r)
        squared += (2 * (beyond.diagonal[..., None] * kappa + 2 * beyond.across) * beside).sum((1, 2))
        squared += ((beyond.excess + beyond.squares) * rest.square().sum(1)).sum(1)
        trace += (beyond.diagonal * rest.sum(1)).sum(1)
        cross += (beyond.diagonal * (rest * own).sum(1)).sum(1)
    return trace, squared, cross


def _summed(entries: Tensor) -> Tensor:
    """Sum each of several matrices (draws, g, r, c): within a row in their number type, over rows in float64."""
    return entries.sum(-1).sum((1, 2), dtype=torch.float64)


def _add_weak(
    of_draws: dict[str, Tensor], beyond: Beyond, strengths: Tensor, tied: Tensor | None, sums: Tensor
) -> None:
    """Add the expected contribution of the weak directions, which are not drawn, to the sums of each draw."""
    drawn = beyond.across.shape[-1]
    strong, weak = strengths[:, :drawn], strengths[:, drawn:]
    pairs = torch.eye(strengths.shape[1], dtype=torch.bool).expand(len(strengths), -1, -1) if tied is None else tied
    below, squares = weak.sum(1), weak.square().sum(1)
    within = (pairs[:, drawn:, drawn:] * weak[..., None] * weak[:, None]).sum((1, 2))
    between = (pairs[:, :drawn, drawn:] * weak[:, None]).sum(2)  # (g, r)
    across = strong * beyond.across
    of_draws["total"] += (beyond.diagonal * sums[:, drawn:].square().sum(1)).sum(1)
    of_draws["product"] += (beyond.diagonal * squares).sum(1)
    of_draws["aligned"] += (2 * (across * between).sum(2) + beyond.excess * squares + beyond.squares * within).sum(1)
    of_draws["whole"] += (2 * across.sum(2) * below + beyond.excess * squares + beyond.squares * below**2).sum(1)


def _of_left(
    left: LeftMatrix, strengths: Tensor, turned: TurnedCovariance, dtype: torch.dtype
) -> list[dict[str, Value]]:
    """Correlate W W^T with each A, which stands for Q K Q^T in the space of h."""
    eigenvalues, inner = turned.eigenvalues, turned.inner(dtype)
    draws = len(inner)
    squared = [eigenvalues.square().sum().item()] * draws
    if not turned.whole:  # in the left singular basis of W, where W W^T is diagonal
        strong, weak = strengths[:, : inner.shape[-1]], strengths[:, inner.shape[-1] :]
        products = (inner.diagonal(dim1=2, dim2=3) * strong).sum((1, 2))
        products += (turned.beyond.diagonal * weak.sum(1)).sum(1)
        mean = eigenvalues.mean(1, keepdim=True).expand_as(eigenvalues)
        moments = left.moments_of_each(
            [eigenvalues.sum().item()] * draws, squared, products, mean.expand(draws, *mean.shape)
        )
        # The diagonal of Q K Q^T varies over Q by as much as it varies within, so its mean does not give this one.
        return [each.correlations(["cosine", "pearson"]) | {"offdiagonal": undefined(EXPECTED)} for each in moments]
    if left.features.basis is None:
        products = _summed(inner * left.matrix.to(dtype))
    else:
        turned_rows = left.features.whole_rows.mT.to(dtype) @ turned.rotations.to(dtype)
        products = _summed(turned_rows.square() * eigenvalues.to(dtype)[:, None])
    moments = left.moments_of_each(turned.totals, squared, products, turned.diagonals)
    return [each.correlations() for each in moments]


def _rotated(basis: LeftBasis, turned: TurnedCovariance, number: int, resolution: float) -> Agop:
    """Decompose W^T U A U^T W for one A."""
    features, eigenvalues = basis.own, turned.eigenvalues
    kept = torch.where(significant(eigenvalues, resolution), eigenvalues, 0)
    root = (turned.directions[number].double() * kept.sqrt()[:, None])[..., (kept > 0).any(0)]
    # |Q K Q^T| is the norm of K's eigenvalues.
    return Agop(
        features, root if basis.features.basis is None else factor(root @ root.mT), features.rounding(eigenvalues)
    )


def over_draws(values: Sequence[Value], still: float) -> tuple[Value, Value]:
    """Return the mean over draws with its standard error, and their standard deviation.

    Both are undefined where the deviation is no more than ``still``: no rotation changes the correlation. That happens
    where each block has one row, where K is a multiple of the identity in each block, where F is a single number and,
    for some of the correlations, where the rows of W are orthonormal.
    """
    notes = [value.note for value in values if value.note]
    if notes:
        return undefined(notes[0]), undefined(notes[0])
    draws = torch.tensor([value.value for value in values], dtype=torch.float64)
    deviation = draws.std().item()
    if deviation <= still:
        return undefined(NO_CONTROL), undefined(NO_CONTROL)
    return Value(draws.mean().item(), stderr=deviation / sqrt(len(values))), Value(deviation, stderr=float("nan"))


def turned_covariance(layer: LayerContext) -> TurnedCovariance:
    """Draw the rotations of a layer's K, for all matrices that are compared with it."""
    return TurnedCovariance(layer.middle.spectrum, layer.features.rows.shape[1], layer.seed)


def of_weights(layer: LayerContext) -> Controls:
    """Compute the controls of UC-NFC and of its factors."""
    turned, resolution = layer.once(turned_covariance), layer.current.resolution
    return haar_control(layer.left_basis, turned, layer.powers, resolution, readout=layer.is_readout)


def _mean(layer: LayerContext) -> Values:
    """Give the means over the rotations of K."""
    means = layer.once(of_weights).means
    return {
        (correlation, power): means.get(("nfc", correlation, power), undefined(NO_DEPTH_POWER))
        for correlation, power in EVERY_CONVENTION
    }


def _deviation(layer: LayerContext) -> Values:
    """Give the standard deviations over the rotations of K, at power 1."""
    deviations = layer.once(of_weights).deviations
    return {(correlation, power): deviations["nfc", correlation, power] for correlation, power in POWER_ONE}


HAAR_NFC = Quantity(
    name="haar_nfc",
    label="UC-NFC, K turned at random",
    meaning=f"control of UC-NFC: K's spectrum without its directions; mean over {DRAWS} rotations, over "
    f"{DRAWS_DECOMPOSED} at powers other than 1",
    formula="mean of ρ(WᵀW, (WᵀQKQᵀW)ˢ) over random rotations Q",
    source=OURS,
    values=_mean,
    rows=EVERY_CONVENTION,
)

HAAR_NFC_SD = Quantity(
    name="haar_nfc_sd",
    label="spread of K turned at random",
    meaning="spread of that control over the rotations; power 1 only",
    formula="standard deviation of ρ(WᵀW, WᵀQKQᵀW) over the same Q",
    source=OURS,
    values=_deviation,
    rows=POWER_ONE,
    range=NOT_NEGATIVE,
)
