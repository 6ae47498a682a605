"""The controls by random rotation: K's spectrum without its directions.

Weights correlate with W^T K W before anything is learned, as both matrices contain W. The controls show how much: they
are the correlation of W^T W with W^T Q K Q^T W for random orthogonal Q, drawn from Haar measure. As Q V is distributed
as Q for any fixed orthogonal V, K may be replaced by the diagonal matrix of its eigenvalues.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import nan, sqrt

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.agop import Agop, factor, significant
from nfa.alignment.quantities.ansatz import CHANGE_NOT_FINITE, NO_DEPTH_POWER
from nfa.alignment.quantities.centred import no_change
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import DERIVED, EVERY_CONVENTION, NOT_NEGATIVE, OURS, POWER_ONE, Quantity
from nfa.alignment.quantities.values import RowKey, Value, Values, undefined
from nfa.conventions import CORRELATIONS
from nfa.random import torch_generator

DRAWS = 20  # rotations at power 1
DRAWS_DECOMPOSED = 5  # rotations at other powers; the standard error shows what that costs

# Powers other than 1 take an eigendecomposition per rotation, which costs the cube of min(k, d): at 1,024 more than
# everything else together.
LARGEST_DECOMPOSED = 256
LARGEST_DRAWN = 1024  # for a larger k a draw takes seconds, and correlations vary over Q by about 1/k
LITTLE_VARIATION = 1e-2  # share of |F|^2 below which the entries of F hardly vary
EXPECTED = reason(f"from second moments over Q: none is drawn where k is more than {LARGEST_DRAWN}")
TOO_LARGE = reason(f"the control is computed at power 1 only where min(k, d) is more than {LARGEST_DECOMPOSED}")
NO_CONTROL = reason("no control: no rotation of K changes this correlation")
AT_START = reason("W equals W0: 0/0")
# A standard deviation over rotations up to this size is rounding, in float64 and in float32.
STILL, STILL_SINGLE = 1e-11, 3e-6


def haar_control(
    features: FeatureMatrix,
    eigenvalues: Tensor,
    powers: Mapping[str, float],
    resolution: float,
    seed: int,
    *,
    readout: bool = False,
) -> tuple[Values, Values]:
    """Correlate under random rotations of K.

    Args:
        features: W.
        eigenvalues: Of K, ascending in each block, (g, k).
        powers: Power name -> exponent, none NaN.
        resolution: Relative rounding of K's eigenvalues.
        seed: Seed of the rotations.
        readout: True if h is the network's output. There K is the identity, and both the correlation and its control
            are 1: a known answer. At any other layer a control that no rotation changes is undefined.

    Returns:
        The mean over m rotations with its standard error sd / sqrt(m), and the standard deviation over them; both by
        (correlation, power). m is 20 at power 1 and 5 at other powers.
    """
    blocks, k = eigenvalues.shape
    low, high = (bound.item() for bound in eigenvalues.aminmax())
    known = readout and high - low <= STILL * high
    if k > LARGEST_DRAWN:
        return _expected(features, eigenvalues, powers, known=known)
    draws: dict[RowKey, list[Value]] = {}
    decomposed = features.rows.shape[1] <= LARGEST_DECOMPOSED
    # For a larger k float32 is twice as fast and right to 1e-5, unless the entries of F hardly vary.
    plain = features if k <= LARGEST_DECOMPOSED or features.variation < LITTLE_VARIATION else features.to(torch.float32)
    spectrum = eigenvalues.to(plain.rows.dtype)
    for number, rotation in enumerate(rotations(k, blocks, seed)):
        rotated = None
        if decomposed and number < DRAWS_DECOMPOSED:
            rotated = _rotated(features, eigenvalues, rotation, resolution)
        for power, exponent in powers.items():
            if exponent == 1:
                turned = rotation.to(spectrum.dtype)
                found = plain.moments((turned * spectrum[:, None]) @ turned.mT).correlations()
            elif rotated is not None:
                found = rotated.power_moments(exponent).correlations()
            else:
                found = {} if decomposed else dict.fromkeys(CORRELATIONS, undefined(TOO_LARGE))
            for correlation, value in found.items():
                draws.setdefault((correlation, power), []).append(value)
    means, deviations = {}, {}
    for convention, values in draws.items():
        single = powers[convention[1] or "1"] == 1 and plain.gram.dtype == torch.float32
        still = -1.0 if known else STILL_SINGLE if single else STILL
        means[convention], deviations[convention] = _summary(values, still)
    return means, deviations


def _expected(
    features: FeatureMatrix, eigenvalues: Tensor, powers: Mapping[str, float], *, known: bool
) -> tuple[Values, Values]:
    """Compute the control at power 1 from moments over Haar measure, for a k at which correlations hardly vary over Q.

    E[A_ij A_kl] = a d_ij d_kl + b (d_ik d_jl + d_il d_jk) for A = Q diag(lambda) Q^T, hence
    E A = (tr lambda / k) I and E tr(A S A S) = (a + b) tr(S S) + b (tr S)^2 [derived].
    """
    k = eigenvalues.shape[1]
    spread = eigenvalues.amax(1) - eigenvalues.amin(1)
    if not known and bool((spread <= STILL * eigenvalues.amax(1).abs()).all()):
        nothing: Values = {(name, power): undefined(NO_CONTROL) for name in CORRELATIONS for power in powers}
        return nothing, nothing
    values = eigenvalues / eigenvalues.max().clamp(min=torch.finfo(torch.float64).tiny)
    trace, squares = values.sum(1), values.square().sum(1)
    common = k * (k - 1) * (k + 2)
    a, b = ((k + 1) * trace**2 - 2 * squares) / common, (k * squares - trace**2) / common
    gram_squares = features.gram.square().sum((1, 2))
    gram_trace = features.gram.diagonal(dim1=1, dim2=2).sum(1)
    mean = trace / k
    moments = features.moments_with(
        total=(mean * features.row_sums.square().sum(1)).sum().item(),
        squared=((a + b) * gram_squares + b * gram_trace**2).sum().item(),
        product=(mean * gram_squares).sum().item(),
        diagonal=mean[:, None] * features.diagonal,
    )
    found = moments.correlations()
    means: Values = {
        (name, power): Value(value.value, EXPECTED, nan) if power == "1" else undefined(TOO_LARGE)
        for name, value in found.items()
        for power in powers
    }
    return means, dict.fromkeys(means, undefined(EXPECTED))


def _rotated(features: FeatureMatrix, eigenvalues: Tensor, rotation: Tensor, resolution: float) -> Agop:
    """Decompose W^T Q K Q^T W for one rotation Q."""
    kept = torch.where(significant(eigenvalues, resolution), eigenvalues, 0)
    root = (rotation.double() * kept.sqrt()[:, None])[..., (kept > 0).any(0)]
    rounding = features.rounding(eigenvalues)  # |Q K Q^T| is the norm of K's eigenvalues
    if features.basis is not None:
        root = factor(features.reduce(root @ root.mT))
    return Agop(features, root, rounding)


@lru_cache(maxsize=2)
def rotations(size: int, blocks: int, seed: int) -> tuple[Tensor, ...]:
    """Draw the rotations of a control: (blocks, size, size) each, the same for all layers of a size and at every step.

    They are kept for the next layer: for k = 1,024 drawing them costs as much as everything else together.
    """
    generator = torch_generator("haar", seed, size=size, blocks=blocks)
    dtype = torch.float64 if size <= LARGEST_DECOMPOSED else torch.float32  # a control needs no more digits
    return tuple(torch.stack([haar(size, generator, dtype) for _ in range(blocks)]) for _ in range(DRAWS))


def haar(size: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw an orthogonal matrix from Haar measure: QR of a Gaussian, signs fixed (Mezzadri, arXiv math-ph/0609050)."""
    gaussian = torch.randn(size, size, dtype=dtype, generator=generator)
    orthogonal, triangular = torch.linalg.qr(gaussian)
    rotation: Tensor = orthogonal * triangular.diagonal().sign()
    return rotation


def _summary(values: list[Value], still: float) -> tuple[Value, Value]:
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


def _of_weights(layer: LayerContext) -> tuple[Values, Values]:
    """Compute the control of the ansatz itself: means and standard deviations."""
    return haar_control(
        layer.features,
        layer.middle.spectrum,
        layer.powers,
        layer.current.resolution,
        layer.seed,
        readout=layer.is_readout,
    )


def _mean(layer: LayerContext) -> Values:
    """Give the means over the rotations of K."""
    means, _ = layer.once(_of_weights)
    return {row: means.get(row, undefined(NO_DEPTH_POWER)) for row in EVERY_CONVENTION}


def _deviation(layer: LayerContext) -> Values:
    """Give the standard deviations over the rotations of K, at power 1."""
    _, deviations = layer.once(_of_weights)
    return {row: deviations[row] for row in POWER_ONE}


def _of_change(layer: LayerContext) -> Values | Value:
    """Compute the control of the centred correlation at power 1."""
    if unusable := layer.once(no_change):
        return undefined(unusable)
    if layer.at_start:
        return undefined(AT_START)
    assert layer.change is not None
    if not torch.isfinite(layer.change).all():
        return undefined(CHANGE_NOT_FINITE)
    spectrum, resolution = layer.middle.spectrum, layer.current.resolution
    means, _ = haar_control(
        layer.change_features, spectrum, {"1": 1.0}, resolution, layer.seed, readout=layer.is_readout
    )
    return means


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

C_HAAR_NFC = Quantity(
    name="c_haar_nfc",
    label="C-NFC, K turned at random",
    meaning="control of C-NFC: a change of low rank correlates with any K of low rank; power 1 only",
    formula="mean of ρ(W̄ᵀW̄, W̄ᵀQKQᵀW̄) over the same Q",
    source=DERIVED,
    values=_of_change,
    rows=POWER_ONE,
)
