"""The control by random rotation: K's spectrum without its directions.

Weights correlate with W^T K W before anything is learned, as both matrices contain W. The controls show how much: they
are the correlation of W^T W with W^T Q K Q^T W for random orthogonal Q, drawn from Haar measure. As Q V is distributed
as Q for any fixed orthogonal V, K may be replaced by the diagonal matrix of its eigenvalues.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.agop import Agop, factor, significant
from nfa.alignment.quantities.ansatz import NO_DEPTH_POWER
from nfa.alignment.quantities.correlation import Moments
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.left_matrix import LeftMatrix
from nfa.alignment.quantities.quantity import EVERY_CONVENTION, NOT_NEGATIVE, OURS, POWER_ONE, Quantity
from nfa.alignment.quantities.split import Factors, LeftBasis
from nfa.alignment.quantities.values import Value, Values, undefined
from nfa.conventions import CORRELATIONS
from nfa.random import torch_generator

DRAWS = 20  # rotations at power 1
DRAWS_DECOMPOSED = 5  # rotations at other powers; the standard error shows what that costs

# Powers other than 1 take an eigendecomposition per rotation, which costs the cube of min(k, d): at 1,024 more than
# everything else together.
LARGEST_DECOMPOSED = 256
LARGEST_IN_DOUBLE = 128
AT_ONCE = 2**18  # entries of the matrices that are turned in one product: small matrices together, large ones alone
# Columns of W from which the diagonal of W^T Q K Q^T W costs more than the rest of a draw. It is computed in float32:
# all its entries are positive, so the sum of their squares is right to 1e-7.
MANY_COLUMNS = 1024
KEPT_BYTES = 2**28  # three sets of the largest rotations that are drawn
LARGEST_DRAWN = 1024  # for a larger k a draw takes seconds, and correlations vary over Q by about 1/k
LITTLE_VARIATION = 1e-2  # share of |F|^2 below which the entries of F hardly vary
EXPECTED = reason(f"from second moments over Q: none is drawn where k is more than {LARGEST_DRAWN}")
TOO_LARGE = reason(f"the control is computed at power 1 only where min(k, d) is more than {LARGEST_DECOMPOSED}")
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
    eigenvalues: Tensor,
    powers: Mapping[str, float],
    resolution: float,
    seed: int,
    *,
    readout: bool = False,
    left: LeftMatrix | None = None,
) -> Controls:
    """Compute correlations and their factors under random rotations of K.

    Args:
        basis: W, with its left singular basis.
        eigenvalues: Of K, ascending in each block, (g, k).
        powers: Power name -> exponent, none NaN.
        resolution: Relative rounding of K's eigenvalues.
        seed: Seed of the rotations.
        readout: True if h is the network's output. There K is the identity, and both the correlation and its control
            are 1: a known answer. At any other layer a control that no rotation changes is undefined.
        left: W W^T, if its correlation with K is to be controlled, too.

    Returns:
        Means and standard deviations over m rotations; the standard error of a mean is sd / sqrt(m). m is 20 at power 1
        and 5 at other powers.
    """
    features = basis.features
    blocks, k = eigenvalues.shape
    # Correlations do not depend on scale, and float32 could not hold the squares of a small K.
    eigenvalues = eigenvalues / eigenvalues.max().clamp(min=torch.finfo(torch.float64).tiny)
    known = readout and constant(eigenvalues)
    if k > LARGEST_DRAWN:
        return _expected(basis, eigenvalues, powers, known=known, left=left)
    decomposed = features.rows.shape[1] <= LARGEST_DECOMPOSED
    # For a larger k float32 is twice as fast and right to 1e-6, unless the entries of F hardly vary.
    single = k > LARGEST_IN_DOUBLE and features.variation >= LITTLE_VARIATION
    wide = features.shape[1] >= MANY_COLUMNS and features.variation >= LITTLE_VARIATION
    turning = _Turning(basis, eigenvalues, torch.float32 if single else torch.float64, left, wide=wide)
    draws: dict[Drawn, list[Value]] = {}
    drawn = rotations(k, blocks, seed)
    for number, (rotation, found) in enumerate(zip(drawn, turning.at_power_one(drawn), strict=True)):
        rotated = None
        if decomposed and number < DRAWS_DECOMPOSED and any(exponent != 1 for exponent in powers.values()):
            rotated = _rotated(features, eigenvalues, rotation, resolution)
        for power, exponent in powers.items():
            if exponent == 1:
                of_power = {name: found["nfc", name, "1"] for name in CORRELATIONS}
            elif rotated is not None:
                of_power = rotated.power_moments(exponent).correlations()
            else:
                of_power = {} if decomposed else dict.fromkeys(CORRELATIONS, undefined(TOO_LARGE))
            found |= {("nfc", name, power): value for name, value in of_power.items()}
        for key, value in found.items():
            draws.setdefault(key, []).append(value)
    means, deviations = {}, {}
    for key, values in draws.items():
        at_one = key[2] is None or powers.get(key[2], 1.0) == 1
        in_single = single or (wide and key[:2] == ("nfc", "offdiagonal"))
        still = -1.0 if known else STILL_SINGLE if in_single and at_one else STILL
        means[key], deviations[key] = over_draws(values, still)
    return Controls(means, deviations)


def constant(eigenvalues: Tensor) -> bool:
    """Tell whether all eigenvalues of K are equal, in all blocks together: K is then a multiple of the identity."""
    low, high = (bound.item() for bound in eigenvalues.aminmax())
    return high - low <= STILL * high


class _Turning:
    """Turns K and correlates, in the left singular basis of W, where most sums are over entries that are squared."""

    def __init__(
        self, basis: LeftBasis, eigenvalues: Tensor, dtype: torch.dtype, left: LeftMatrix | None, *, wide: bool
    ) -> None:
        """Compute everything that all rotations share; the diagonals of ``wide`` matrices are computed in float32."""
        features = basis.features
        self.basis, self.left = basis, left
        self.spectrum = eigenvalues.to(dtype)
        self.vectors = basis.full_vectors.to(dtype)
        self.root = basis.strengths.sqrt().to(dtype)
        rows = basis.vectors.mT @ features.rows  # S V^T, (g, m, d)
        self.rows = rows.to(torch.float32 if wide else dtype)
        self.sums = (basis.vectors.mT @ features.row_sums[..., None]).to(dtype)
        self.squared = self.spectrum.square().sum(dtype=torch.float64).item()
        # |Q K Q^T| is the norm of K's eigenvalues. All eigenvalues are positive, so that nothing cancels in float32 and
        # M is rounding only where it would be in float64, too.
        self.rounding = features.rounding(eigenvalues)

    def at_power_one(self, rotations: Tensor) -> Iterator[dict[Drawn, Value]]:
        """Compute the correlations at power 1 and their factors for each rotation (g, k, k) of K."""
        blocks, _, columns = self.rows.shape
        entries = blocks * rotations.shape[-1] * max(rotations.shape[-1], columns)
        for some in rotations.split(max(1, AT_ONCE // entries)):
            yield from self._of_some(some.to(self.spectrum.dtype))

    def _of_some(self, rotations: Tensor) -> Iterator[dict[Drawn, Value]]:
        """Compute the same for as many rotations (draws, g, k, k) as are turned in one product."""
        turned = self.vectors.mT @ rotations
        inner = (turned * self.spectrum[:, None]) @ turned.mT  # U^T Q K Q^T U
        kappa = inner.diagonal(dim1=-2, dim2=-1)
        factors = Factors.of_each(self.basis, self.root[..., None] * inner * self.root[:, None])
        moments = self.basis.features.moments_of_each(
            totals=(self.sums.mT @ inner @ self.sums).flatten(1).sum(1),
            squared=[each.whole if each.whole > self.rounding**2 else 0.0 for each in factors],
            products=[each.product for each in factors],
            diagonals=((inner.to(self.rows) @ self.rows) * self.rows).sum(-2).double(),
        )
        left: list[Moments] | None = None
        if self.left is not None:
            left = self.left.moments_of_each(
                totals=(rotations.sum(2).square() * self.spectrum).sum((1, 2), dtype=torch.float64),
                squared=[self.squared] * len(rotations),
                products=(self.root.square() * kappa).sum((1, 2), dtype=torch.float64),
                diagonals=(rotations.square() @ self.spectrum[..., None])[..., 0].double(),
            )
        for number, of_weights in enumerate(moments):
            found: dict[Drawn, Value] = {("nfc", name, "1"): v for name, v in of_weights.correlations().items()}
            found |= {(name, None, None): v for name, v in factors[number].values(self.rounding).items()}
            if left is not None:
                found |= {("left", name, None): v for name, v in left[number].correlations().items()}
            yield found


def _expected(
    basis: LeftBasis, eigenvalues: Tensor, powers: Mapping[str, float], *, known: bool, left: LeftMatrix | None
) -> Controls:
    """Compute the controls at power 1 from moments over Haar measure, for a k at which they hardly vary over Q.

    E[A_ij A_kl] = a d_ij d_kl + b (d_ik d_jl + d_il d_jk) for A = Q diag(lambda) Q^T, hence
    E A = (tr lambda / k) I and E tr(A S A S) = (a + b) tr(S S) + b (tr S)^2 [derived]. On the diagonal blocks of M it
    is (a + b) sum_i a_i^2 + b (sum of a_i a_j over pairs in a block).
    """
    features, k = basis.features, eigenvalues.shape[1]
    spread = eigenvalues.amax(1) - eigenvalues.amin(1)
    still = not known and bool((spread <= STILL * eigenvalues.amax(1).abs()).all())
    trace, squares = eigenvalues.sum(1), eigenvalues.square().sum(1)
    common = k * (k - 1) * (k + 2)
    a, b = ((k + 1) * trace**2 - 2 * squares) / common, (k * squares - trace**2) / common
    mean, strengths = trace / k, basis.strengths
    gram_squares = strengths.square().sum(1)
    within = basis.diagonal_blocks(strengths[..., None] * strengths[:, None]).flatten(1)
    if basis.tied is None:  # the diagonal alone
        within = strengths.square()
    factors = Factors(
        strengths=gram_squares.sum().item(),
        product=(mean * gram_squares).sum().item(),
        aligned=((a + b) * gram_squares + b * within.sum(1)).sum().item(),
        whole=((a + b) * gram_squares + b * strengths.sum(1) ** 2).sum().item(),
    )
    moments = features.moments_with(
        total=(mean * features.row_sums.square().sum(1)).sum().item(),
        squared=factors.whole,
        product=factors.product,
        diagonal=mean[:, None] * features.diagonal,
    )
    found: dict[Drawn, Value] = {
        ("nfc", name, power): value if power == "1" else undefined(TOO_LARGE)
        for name, value in moments.correlations().items()
        for power in powers
    }
    found |= {(name, None, None): value for name, value in factors.values().items()}
    if left is not None:
        correlations = left.moments(
            total=trace.sum().item(),
            squared=squares.sum().item(),
            product=(mean * strengths.sum(1)).sum().item(),
            diagonal=mean[:, None].expand_as(eigenvalues),
        ).correlations(["cosine", "pearson"])
        # The diagonal of A varies over Q by as much as it varies within A, so its mean alone does not give this one.
        correlations["offdiagonal"] = undefined(EXPECTED)
        found |= {("left", name, None): value for name, value in correlations.items()}
    means = {
        key: undefined(NO_CONTROL) if still else Value(value.value, value.note or EXPECTED, nan)
        for key, value in found.items()
    }
    return Controls(means, {key: undefined(value.note) for key, value in means.items()})


def _rotated(features: FeatureMatrix, eigenvalues: Tensor, rotation: Tensor, resolution: float) -> Agop:
    """Decompose W^T Q K Q^T W for one rotation Q."""
    kept = torch.where(significant(eigenvalues, resolution), eigenvalues, 0)
    root = (rotation.double() * kept.sqrt()[:, None])[..., (kept > 0).any(0)]
    rounding = features.rounding(eigenvalues)  # |Q K Q^T| is the norm of K's eigenvalues
    if features.basis is not None:
        reduced = features.basis.mT @ root
        root = factor(reduced @ reduced.mT)
    return Agop(features, root, rounding)


_kept: OrderedDict[tuple[int, int, int], Tensor] = OrderedDict()  # rotations, those used last at the end


def rotations(size: int, blocks: int, seed: int) -> Tensor:
    """Draw the rotations of a control, (draws, blocks, size, size): the same for all layers of a size, at every step.

    They are kept for the next layer and the next step, as many as fit into ``KEPT_BYTES``: for k = 1,024 drawing them
    costs as much as everything else together. The rotations of one dimension are 1 and -1, which turn no K: they are 1.
    """
    key = size, blocks, seed
    if key not in _kept:
        _kept[key] = _drawn(size, blocks, seed) if size > 1 else torch.ones(DRAWS, blocks, 1, 1, dtype=torch.float64)
        while sum(each.nbytes for each in _kept.values()) > KEPT_BYTES and len(_kept) > 1:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def _drawn(size: int, blocks: int, seed: int) -> Tensor:
    """Draw rotations of two dimensions or more."""
    generator = torch_generator("haar", seed, size=size, blocks=blocks)
    dtype = torch.float64 if size <= LARGEST_DECOMPOSED else torch.float32  # a control needs no more digits
    gaussian = torch.empty(DRAWS, blocks, size, size, dtype=dtype)
    for matrix in gaussian.flatten(0, 1):
        matrix.normal_(generator=generator)
    return _orthogonal(gaussian)


def haar(size: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw an orthogonal matrix from Haar measure: QR of a Gaussian, signs fixed (Mezzadri, arXiv math-ph/0609050)."""
    return _orthogonal(torch.randn(size, size, dtype=dtype, generator=generator))


def _orthogonal(gaussian: Tensor) -> Tensor:
    """Make matrices (..., k, k) of independent normal entries orthogonal, so that they are drawn from Haar measure."""
    orthogonal, triangular = torch.linalg.qr(gaussian)
    rotation: Tensor = orthogonal * triangular.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return rotation


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


def of_weights(layer: LayerContext) -> Controls:
    """Compute the controls of UC-NFC and of its factors."""
    return haar_control(
        layer.left_basis,
        layer.middle.spectrum,
        layer.powers,
        layer.current.resolution,
        layer.seed,
        readout=layer.is_readout,
        left=layer.left,
    )


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
