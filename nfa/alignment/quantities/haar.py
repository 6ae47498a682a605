"""The control by random rotation: K's spectrum without its directions.

Weights correlate with W^T K W before anything is learned, as both matrices contain W. The controls show how much: they
are the correlation of W^T W with W^T Q K Q^T W for random orthogonal Q, drawn from Haar measure. As Q V is distributed
as Q for any fixed orthogonal V, K may be replaced by the diagonal matrix of its eigenvalues.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, sqrt

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.agop import Agop, factor, significant
from nfa.alignment.quantities.ansatz import NO_DEPTH_POWER
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
LARGEST_DRAWN = 1024  # for a larger k a draw takes seconds
# Beyond it, W's strongest directions are drawn. What the many weak ones add varies over Q by about 1/k; the few strong
# ones of a change of low rank make ratios whose mean is far from the ratio of means (.98 and .69 for ranks 2 and 3).
STRONGEST = 128
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
    known = readout and constant(eigenvalues)
    if k > LARGEST_DRAWN:
        return _strongest_drawn(basis, eigenvalues, powers, seed, known=known, left=left)
    decomposed = features.rows.shape[1] <= LARGEST_DECOMPOSED
    # For a larger k float32 is twice as fast and right to 1e-5, unless the entries of F hardly vary.
    single = k > LARGEST_DECOMPOSED and features.variation >= LITTLE_VARIATION
    turning = _Turning(basis, eigenvalues, torch.float32 if single else torch.float64, left)
    draws: dict[Drawn, list[Value]] = {}
    for number, rotation in enumerate(rotations(k, blocks, seed)):
        found = turning.at_power_one(rotation)
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
        still = still_up_to(basis, key, STILL_SINGLE if single and at_one else STILL, known=known)
        means[key], deviations[key] = over_draws(values, still)
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


class _Turning:
    """Turns K and correlates, in the left singular basis of W, where most sums are over entries that are squared."""

    def __init__(self, basis: LeftBasis, eigenvalues: Tensor, dtype: torch.dtype, left: LeftMatrix | None) -> None:
        """Compute everything that all rotations share."""
        features = basis.features
        self.basis, self.left = basis, left
        # Divided by the largest, so that squares do not vanish in float32.
        self.spectrum = (eigenvalues / eigenvalues.max().clamp(min=torch.finfo(torch.float64).tiny)).to(dtype)
        self.vectors = basis.full_vectors.to(dtype)
        self.root = basis.strengths.sqrt().to(dtype)
        self.rows = (basis.vectors.mT @ features.rows).to(dtype)  # S V^T, (g, m, d)
        self.sums = (basis.vectors.mT @ features.row_sums[..., None]).to(dtype)
        self.squared = self.spectrum.square().sum(dtype=torch.float64).item()

    def at_power_one(self, rotation: Tensor) -> dict[Drawn, Value]:
        """Compute the correlations at power 1 and their factors for one rotation (g, k, k) of K."""
        features = self.basis.features
        rotation = rotation.to(self.spectrum.dtype)
        turned = self.vectors.mT @ rotation
        inner = (turned * self.spectrum[:, None]) @ turned.mT  # U^T Q K Q^T U
        middle = self.root[..., None] * inner * self.root[:, None]
        factors = Factors.of(self.basis, middle)
        moments = features.moments_with(
            total=float((self.sums.mT @ inner @ self.sums).sum()),
            squared=factors.whole,
            product=factors.product,
            diagonal=((inner @ self.rows) * self.rows).sum(1),
        )
        found: dict[Drawn, Value] = {("nfc", name, "1"): value for name, value in moments.correlations().items()}
        found |= {(name, None, None): value for name, value in factors.values().items()}
        if self.left is not None:
            correlations = self.left.moments(
                total=(rotation.sum(1).square() * self.spectrum).sum(dtype=torch.float64).item(),
                squared=self.squared,
                product=(self.root.square() * inner.diagonal(dim1=1, dim2=2)).sum(dtype=torch.float64).item(),
                diagonal=(rotation.square() @ self.spectrum[..., None])[..., 0].double(),
            ).correlations()
            found |= {("left", name, None): value for name, value in correlations.items()}
        return found


def _strongest_drawn(
    basis: LeftBasis,
    eigenvalues: Tensor,
    powers: Mapping[str, float],
    seed: int,
    *,
    known: bool,
    left: LeftMatrix | None,
) -> Controls:
    """Compute the controls at power 1 for a large k: draw W's strongest directions, and take expectations over others.

    Let T = Q^T U, (k, r), be where Q^T takes the r strongest directions. Among these, A = U^T Q diag(lambda) Q^T U is
    T^T diag(lambda) T. Given T, the other directions are uniform in the complement, of dimension p = k - r, on which
    diag(lambda) acts as B. For i <= r < j, l, and with E B_jl B_mn = a d_jl d_mn + b (d_jm d_ln + d_jn d_lm) [derived]:

        E A_jj = tr B / p    E A_ij^2 = (|diag(lambda) t_i|^2 - |A_i|^2) / p    E A_jl^2 = a d_jl + b (1 + d_jl)
    """
    features, (g, k) = basis.features, eigenvalues.shape
    m = basis.strengths.shape[1]
    weak = max(m - STRONGEST, 0)  # number of directions that are not drawn
    below, strong = basis.strengths[:, :weak], basis.strengths[:, weak:]
    pairs = torch.eye(m, dtype=torch.bool).expand(g, m, m) if basis.tied is None else basis.tied
    below_sum, below_squares = below.sum(1), below.square().sum(1)
    below_pairs = (pairs[:, :weak, :weak] * below[..., None] * below[:, None]).sum((1, 2))
    across = (pairs[:, weak:, :weak] * below[:, None]).sum(2)  # (g, r)
    rows = basis.vectors[..., weak:].mT @ features.rows
    sums = (basis.vectors.mT @ features.row_sums[..., None])[..., 0]
    root, p = strong.sqrt(), k - strong.shape[1]
    values = eigenvalues / eigenvalues.max().clamp(min=torch.finfo(torch.float64).tiny)
    trace, squares = values.sum(1), values.square().sum(1)
    draws: dict[Drawn, list[Value]] = {}
    for directions in rotations(k, g, seed, strong.shape[1]):
        stretched = values[..., None] * directions
        inner = directions.mT @ stretched
        lengths = stretched.square().sum(1)  # |diag(lambda) t_i|^2
        outside = (lengths - inner.square().sum(2)).clamp(min=0)
        trace_b = trace - inner.diagonal(dim1=1, dim2=2).sum(1)
        squares_b = squares - (lengths + outside).sum(1)
        common = p * (p - 1) * (p + 2)
        a, b = ((p + 1) * trace_b**2 - 2 * squares_b) / common, (p * squares_b - trace_b**2) / common
        middle = root[..., None] * inner * root[:, None]
        strong_outside = strong * outside / p
        factors = Factors(
            strengths=features.squared,
            product=((strong.square() * inner.diagonal(dim1=1, dim2=2)).sum(1) + trace_b / p * below_squares)
            .sum()
            .item(),
            aligned=(
                (middle * pairs[:, weak:, weak:]).square().sum((1, 2))
                + 2 * (strong_outside * across).sum(1)
                + (a + b) * below_squares
                + b * below_pairs
            )
            .sum()
            .item(),
            whole=(
                middle.square().sum((1, 2))
                + 2 * strong_outside.sum(1) * below_sum
                + (a + b) * below_squares
                + b * below_sum**2
            )
            .sum()
            .item(),
        )
        total = (sums[:, None, weak:] @ inner @ sums[:, weak:, None])[:, 0, 0]
        moments = features.moments_with(
            total=(total + trace_b / p * sums[:, :weak].square().sum(1)).sum().item(),
            squared=factors.whole,
            product=factors.product,
            diagonal=((inner @ rows) * rows).sum(1)
            + (trace_b / p)[:, None] * (features.diagonal - rows.square().sum(1)),
        )
        found: dict[Drawn, Value] = {("nfc", name, "1"): value for name, value in moments.correlations().items()}
        found |= {(name, None, None): value for name, value in factors.values().items()}
        if left is not None:
            product = (strong * inner.diagonal(dim1=1, dim2=2)).sum(1) + trace_b / p * below_sum
            correlations = left.moments(
                total=trace.sum().item(),
                squared=squares.sum().item(),
                product=product.sum().item(),
                diagonal=(trace / k)[:, None].expand_as(eigenvalues),
            ).correlations(["cosine", "pearson"])
            # The diagonal of Q K Q^T varies over Q by as much as it varies within, so its mean does not give this one.
            correlations["offdiagonal"] = undefined(EXPECTED)
            found |= {("left", name, None): value for name, value in correlations.items()}
        for key, value in found.items():
            draws.setdefault(key, []).append(value)
    spread = eigenvalues.amax(1) - eigenvalues.amin(1)
    even = bool((spread <= STILL * eigenvalues.amax(1).abs()).all())  # K is a multiple of the identity in each block
    means, deviations = {}, {}
    for key, each in draws.items():
        mean, deviation = over_draws(each, still_up_to(basis, key, inf if even else STILL, known=known))
        if weak and mean.value == mean.value:  # the draws vary by less than all of Q does
            mean, deviation = Value(mean.value, EXPECTED, mean.stderr), undefined(EXPECTED)
        means[key], deviations[key] = mean, deviation
    others = {("nfc", name, power): undefined(TOO_LARGE) for name in CORRELATIONS for power in powers if power != "1"}
    return Controls(means | others, deviations | others)


def _rotated(features: FeatureMatrix, eigenvalues: Tensor, rotation: Tensor, resolution: float) -> Agop:
    """Decompose W^T Q K Q^T W for one rotation Q."""
    kept = torch.where(significant(eigenvalues, resolution), eigenvalues, 0)
    root = (rotation.double() * kept.sqrt()[:, None])[..., (kept > 0).any(0)]
    rounding = features.rounding(eigenvalues)  # |Q K Q^T| is the norm of K's eigenvalues
    if features.basis is not None:
        root = factor(features.reduce(root @ root.mT))
    return Agop(features, root, rounding)


@lru_cache(maxsize=2)
def rotations(size: int, blocks: int, seed: int, columns: int | None = None) -> tuple[Tensor, ...]:
    """Draw the rotations of a control: (blocks, size, size) each, the same for all layers of a size and at every step.

    They are kept for the next layer: for k = 1,024 drawing them costs as much as everything else together. With
    ``columns``, that many orthonormal columns of each are drawn, in float64.
    """
    generator = torch_generator("haar", seed, size=size, blocks=blocks)
    # A control needs no more digits than float32 has.
    dtype = torch.float64 if columns or size <= LARGEST_DECOMPOSED else torch.float32
    return tuple(torch.stack([haar(size, generator, dtype, columns) for _ in range(blocks)]) for _ in range(DRAWS))


def haar(
    size: int, generator: torch.Generator, dtype: torch.dtype = torch.float64, columns: int | None = None
) -> Tensor:
    """Draw an orthogonal matrix, or some columns of one, from Haar measure.

    By the QR decomposition of a Gaussian matrix with signs fixed (Mezzadri, arXiv math-ph/0609050).
    """
    gaussian = torch.randn(size, columns or size, dtype=dtype, generator=generator)
    orthogonal, triangular = torch.linalg.qr(gaussian)
    rotation: Tensor = orthogonal * triangular.diagonal().sign()
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
