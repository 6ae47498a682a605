"""Every quantity of one layer, by name and convention.

W weights, W0 initial weights, Wb = W - W0, K and K0 the covariances now and at initialisation, F = W^T W, G = W^T K W:

    uc_nfc            rho(F, G^s): the neural feature ansatz itself
    c_nfc             rho(Wb^T Wb, (Wb^T K Wb)^s): the centred correlation. At W = W0 it is 0/0; its limit t -> 0+ is
                      rho(V^T V, (V^T K0 V)^s) with V the first direction: -dL/dW for gradient flow, minus what stands
                      in for dL/dW where the learning rule is not backpropagation [derived]
    c_nfc_update      at W = W0 only: the same limit with V the optimizer's first update
    c_haar_nfc        mean over 20 random rotations Q of rho(Wb^T Wb, Wb^T Q K Q^T Wb), power 1 only: control of c_nfc,
                      as a change of low rank correlates with any K of low rank [derived]
    dc_nfc            rho(Wb^T Wb, Wb^T (K - K0) Wb), power 1 only: the matrix is indefinite
    w0_nfc            rho(W0^T W0, (W0^T K W0)^s): control, do the initial weights align
    haar_nfc          mean over 20 random rotations Q of rho(F, (W^T Q K Q^T W)^s): control, K without its directions;
                      at powers other than 1 over 5, and only where min(k, d) <= 256; where k > 1,024 from the exact
                      second moments over Q, without drawing any
    haar_nfc_sd       standard deviation over those rotations, power 1
    relative_change   |Wb| / |W|
    localisation      mean over units (rows w of W) of sum w^4 / (sum w^2)^2, the inverse participation ratio: 1 where a
                      unit sees one input, 3/d for Gaussian weights, 1/d where all are of one size (arXiv 2202.00565)
    stable_rank_nfm, stable_rank_agop, stable_rank_k      |A|_F^2 / |A|_2^2
    subspace_overlap  |U_r^T V_r|_F^2 / r of the top-r eigenspaces of F and G, r = min(C, k, d)
    commutator        |F G - G F| / (|F| |G|)
    fact              rho(F, sym(W^T A)), A = -(dL/dW) / lambda, lambda the coupled weight decay (arXiv 2507.05644):
                      1 at a stationary point of the decayed loss
    depth_law_power   the power s of 1/64 to 8 at which rho(F, G^s) is largest; 1/(L - l + 1) in deep linear networks
                      from balanced initialisation (arXiv 2510.15563)
    depth_law_fit     rho(F, G^s) there
    depth_law_low, depth_law_high                         the powers around it at which that has fallen by .01

Sources: Beaglehole, Mitliagkas & Agarwala, arXiv 2402.05271, where nothing else is said.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import hypot, isnan, nan

import torch
from torch import Tensor

from nfa.alignment.covariance.blocks import Blocks
from nfa.alignment.covariance.measure import LayerCovariance
from nfa.alignment.network.layers import without_single_block
from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.agop import Agop, Middle
from nfa.alignment.quantities.best_power import best_powers
from nfa.alignment.quantities.feature_matrix import FeatureMatrix, blocked
from nfa.alignment.quantities.haar import haar_control
from nfa.alignment.quantities.sketch import Estimator
from nfa.alignment.quantities.spectra import commutator, localisation, stable_rank, subspace_overlap
from nfa.alignment.quantities.values import CORRELATIONS, POWERS, Convention, Value, exponents, undefined

Values = dict[Convention, Value]

NO_DEPTH_POWER = reason("a branching network has no depth-matched power")
GRADIENT_FLOW = reason("limit t -> 0+, gradient flow")
RULE_FLOW = reason("limit t -> 0+, flow of the learning rule")
FIRST_UPDATE = reason("limit t -> 0+, along the optimizer's first update")
LIMITS = (GRADIENT_FLOW, RULE_FLOW, FIRST_UPDATE)
OVERFLOW = reason("K is not finite: the network overflows")
K_ROUNDING = reason(
    "K cannot be told from rounding in the network's number type: the true gradient at this layer is zero, or the "
    "network magnifies rounding"
)
PLUG_IN = reason("of the samples drawn: no error estimate for the whole data set")
NO_INITIAL = reason("no initial weights given")
NO_INITIAL_K = reason("no initial covariance given")
W_ZERO = reason("W is zero")
AT_START = reason("W equals W0: 0/0")
AT_START_TWICE = reason("W equals W0: 0/0, and K - K0 is 0 at second order")
AT_START_NO_GRADIENT = reason("W equals W0 and no gradient given")
FROZEN = reason("W equals W0 although the rest of the network has moved: 0/0")
CHANGE_ROUNDING = reason("W - W0 is no more than rounding of W: hardly an entry moved by more than its last digit")
CHANGE_NOT_FINITE = reason("the direction of change is not finite")
K_UNCHANGED = reason("K has not changed")
K_CHANGE_ROUNDING = reason("K has changed by no more than rounding")
NO_DECAY = reason("weight decay is 0")
DECOUPLED = reason("weight decay is decoupled, lambda = {decay:g}: FACT is about a coupled one, which is 0")
NO_GRADIENT = reason("no gradient given")
GRADIENT_NOT_FINITE = reason("the gradient is not finite")
UNMOVED = 1e-4  # relative change of K below which a layer with W = W0 is taken to be at initialisation

_ALL = tuple((correlation, power) for power in POWERS for correlation in CORRELATIONS)
_POWER_ONE = tuple((correlation, "1") for correlation in CORRELATIONS)
_NO_POWER = tuple((correlation, None) for correlation in CORRELATIONS)
_SCALAR: tuple[Convention, ...] = ((None, None),)

# Quantity -> its (correlation, power) rows, in the order of the table.
LAYOUT: dict[str, tuple[Convention, ...]] = {
    "uc_nfc": _ALL,
    "c_nfc": _ALL,
    "c_nfc_update": _ALL,  # only where W = W0 and the first update is known
    "c_haar_nfc": _POWER_ONE,
    "dc_nfc": _POWER_ONE,
    "w0_nfc": _ALL,
    "haar_nfc": _ALL,
    "haar_nfc_sd": _POWER_ONE,
    "relative_change": _SCALAR,
    "localisation": _SCALAR,
    "stable_rank_nfm": _SCALAR,
    "stable_rank_agop": _SCALAR,
    "stable_rank_k": _SCALAR,
    "subspace_overlap": _SCALAR,
    "commutator": _SCALAR,
    "fact": _NO_POWER,
    "depth_law_power": _NO_POWER,
    "depth_law_fit": _NO_POWER,
    "depth_law_low": _NO_POWER,
    "depth_law_high": _NO_POWER,
}
WITHOUT_K = ("relative_change", "localisation", "stable_rank_nfm")  # all others depend on the gradients of the network


@dataclass(frozen=True)
class Reference:
    """What a layer is compared with; a quantity that needs what is None is NaN.

    Attributes:
        initial_weight: W0, (k, d).
        initial_covariance: K0, (k, k).
        initial_blocks: K0 in blocks of the same samples and probes, where K is sketched.
        gradient: dL/dW of the mean loss on the whole training set, (k, d).
        instead: What a learning rule puts in its place, (k, d); None where the rule is backpropagation.
        update: Direction of the optimizer's first full-batch update, up to a positive factor, (k, d).
        weight_decay: lambda, coupled as in torch's ``weight_decay``.
        decoupled_decay: lambda of a decay that is decoupled, as AdamW's is.
    """

    initial_weight: Tensor | None = None
    initial_covariance: Tensor | None = None
    initial_blocks: Blocks | None = None
    gradient: Tensor | None = None
    instead: Tensor | None = None
    update: Tensor | None = None
    weight_decay: float = 0.0
    decoupled_decay: float = 0.0

    @property
    def flow(self) -> tuple[Tensor | None, str]:
        """Velocity of the weights at initialisation when steps are infinitely small, and what it is."""
        against, note = (self.gradient, GRADIENT_FLOW) if self.instead is None else (self.instead, RULE_FLOW)
        return None if against is None else -against, note


def quantities(current: LayerCovariance, reference: Reference, seed: int) -> dict[str, Values]:
    """Measure everything about one layer.

    From sketches, correlations at power 1 are unbiased and have a calibrated standard error
    (``nfa.alignment.quantities.sketch``).
    Everything else that depends on K is not quadratic in it: its value is extrapolated from the two sketches and their
    mean, 2 v(mean) - (v(first) + v(second)) / 2, which takes out the bias that falls with the number of probes; its
    standard error is the half-difference of the two sketches and the size of that correction together.

    Args:
        current: W and K.
        reference: W0, K0, gradient and update; tensors as ``current.weight``, float64 on the CPU.
        seed: Names the random rotations.

    Returns:
        Quantity -> (correlation, power) -> value. Every quantity is there, but ``c_nfc_update`` only where W = W0 and
        the update is known.
    """
    return _estimated(current, reference, lambda layer, known: _quantities(layer, known, seed))


def limits(current: LayerCovariance, reference: Reference) -> dict[str, Values]:
    """``c_nfc`` at W = W0, and ``c_nfc_update`` where the update is known, as ``quantities`` gives them there.

    Args:
        current: W0 and K0.
        reference: Gradient, what stands in for it, and update; what is known of the start is not looked at.
    """
    at_start = replace(reference, initial_weight=current.weight, initial_covariance=None, initial_blocks=None)
    wanted = ["c_nfc"] if reference.update is None else ["c_nfc", "c_nfc_update"]

    def measured(layer: LayerCovariance, known: Reference) -> dict[str, Values]:
        reason = _no_covariance(layer)
        if reason:
            return {quantity: _same(quantity, undefined(reason)) for quantity in wanted}
        powers = exponents(layer.depth_from_output, layer.chain_length)
        found = _limits(layer, Middle(layer.covariance, layer.resolution), known, powers)
        return {quantity: found[quantity] for quantity in wanted}

    return _estimated(current, at_start, measured)


def _estimated(
    current: LayerCovariance,
    reference: Reference,
    measured: Callable[[LayerCovariance, Reference], dict[str, Values]],
) -> dict[str, Values]:
    """Measure with K taken for exact, then take out the bias of sketches and say what their errors are."""
    values = measured(current, reference)
    if current.blocks is None or _no_covariance(current):
        return values
    estimator = Estimator.of(current.blocks, current.population)
    if current.probes:
        starts = (None, None) if reference.initial_blocks is None else reference.initial_blocks.means()
        halves = [
            measured(
                replace(current, total=total, rounding=0.0),
                replace(reference, initial_covariance=None if k0 is None else without_single_block(k0)),
            )
            for total, k0 in zip(current.blocks.totals(), starts, strict=True)
        ]
        values = {q: {c: _extrapolated(v, [h[q][c] for h in halves]) for c, v in values[q].items()} for q in values}
    if current.population is not None:
        values = {q: {c: _of_these_samples(q, v) for c, v in values[q].items()} for q in values}
    return _with_power_one(values, current, reference, estimator)


def _with_power_one(
    values: dict[str, Values], current: LayerCovariance, reference: Reference, estimator: Estimator
) -> dict[str, Values]:
    """Put the unbiased correlations at power 1, with their errors, in place of the others."""
    change = None if reference.initial_weight is None else current.weight - reference.initial_weight
    moved = change is not None and bool(change.any())
    difference = None
    if moved and current.blocks is not None and reference.initial_blocks is not None:
        difference = Estimator.of(current.blocks - reference.initial_blocks, current.population)
    sources = {
        "uc_nfc": (current.weight, estimator),
        "c_nfc": (change if moved else reference.flow[0], estimator),
        "c_nfc_update": (reference.update, estimator),
        "w0_nfc": (reference.initial_weight, estimator),
        "dc_nfc": (change, difference),
    }
    for quantity, (weight, source) in sources.items():
        known = values.get(quantity, {})
        if weight is None or source is None or all(isnan(known[c].value) for c in _POWER_ONE if c in known):
            continue
        for name, found in source.correlations(weight).items():
            old = known[name, "1"]
            note = old.note if old.note in LIMITS else ""
            known[name, "1"] = _noted(found, note) if note else found
    return values


def _extrapolated(value: Value, halves: list[Value]) -> Value:
    """Take out the bias that falls with the number of probes; see ``quantities``."""
    if any(isnan(v.value) for v in (value, *halves)):
        return value if isnan(value.value) else undefined(next(v.note for v in halves if isnan(v.value)))
    first, second = (half.value for half in halves)
    correction = value.value - (first + second) / 2
    return Value(value.value + correction, value.note, hypot((first - second) / 2, correction, value.stderr))


def _of_these_samples(quantity: str, value: Value) -> Value:
    """Say of a value that depends on K that it has no error estimate for the whole data set."""
    if quantity in (*WITHOUT_K, "fact") or isnan(value.value):
        return value
    return Value(value.value, f"{value.note}; {PLUG_IN}" if value.note else PLUG_IN, nan)


def _quantities(current: LayerCovariance, reference: Reference, seed: int) -> dict[str, Values]:
    """Measure everything with K taken for exact."""
    features = FeatureMatrix(current.weight)
    reason = _no_covariance(current)
    if reason:
        values = {quantity: _same(quantity, undefined(reason)) for quantity in LAYOUT}
        del values["c_nfc_update"]
        return values if reason == OVERFLOW else values | _without_covariance(current, features, reference)
    powers = exponents(current.depth_from_output, current.chain_length)
    middle = Middle(current.covariance, current.resolution)
    agop = Agop.of(features, middle)
    readout = current.depth_from_output == 0
    haar, haar_sd = haar_control(features, middle.spectrum, _defined(powers), current.resolution, seed, readout=readout)
    g, k, d = blocked(current.weight).shape
    rank = min(current.outputs, g * k, g * d)
    return {
        "uc_nfc": _agop_correlations(features, agop, middle, powers),
        **_centred(current, middle, reference, powers, seed),
        "haar_nfc": {c: haar.get(c, undefined(NO_DEPTH_POWER)) for c in LAYOUT["haar_nfc"]},
        "haar_nfc_sd": {c: haar_sd[c] for c in LAYOUT["haar_nfc_sd"]},
        **_without_covariance(current, features, reference),
        "stable_rank_agop": _scalar(stable_rank(agop.values)),
        "stable_rank_k": _scalar(stable_rank(middle.spectrum)),
        "subspace_overlap": _scalar(subspace_overlap(agop, rank)),
        "commutator": _scalar(commutator(features, current.covariance)),
        "fact": _fact(features, reference),
        **_depth_law(agop),
    }


def _no_covariance(current: LayerCovariance) -> str:
    """Why K is no number to go by; empty where it is one."""
    if not torch.isfinite(current.covariance).all():
        return OVERFLOW
    return K_ROUNDING if current.is_rounding else ""


def _without_covariance(current: LayerCovariance, features: FeatureMatrix, reference: Reference) -> dict[str, Values]:
    """Measure what depends on the weights alone."""
    return {
        "relative_change": _scalar(_relative_change(current, reference)),
        "localisation": _scalar(localisation(current.weight)),
        "stable_rank_nfm": _scalar(stable_rank(features.spectrum[0])),
    }


def _relative_change(current: LayerCovariance, reference: Reference) -> Value:
    if reference.initial_weight is None:
        return undefined(NO_INITIAL)
    norm = current.weight.norm().item()
    return Value((current.weight - reference.initial_weight).norm().item() / norm) if norm > 0 else undefined(W_ZERO)


def _centred(
    current: LayerCovariance, middle: Middle, reference: Reference, powers: Mapping[str, float], seed: int
) -> dict[str, Values]:
    """Measure what needs the initial weights."""
    if reference.initial_weight is None:
        missing = undefined(NO_INITIAL)
        return {q: _same(q, missing) for q in ("c_nfc", "c_haar_nfc", "dc_nfc", "w0_nfc")}
    change = current.weight - reference.initial_weight
    common = {"w0_nfc": _direction(reference.initial_weight, middle, powers)}
    if not change.any():
        turned = undefined(AT_START)
        return {**_limits(current, middle, reference, powers), "c_haar_nfc": _same("c_haar_nfc", turned), **common}
    if change_is_rounding(current.own_weight, reference.initial_weight):
        nothing = undefined(CHANGE_ROUNDING)
        return {**{q: _same(q, nothing) for q in ("c_nfc", "c_haar_nfc", "dc_nfc")}, **common}
    return {
        "c_nfc": _direction(change, middle, powers),
        "c_haar_nfc": _turned(change, current, middle, seed),
        "dc_nfc": _moved(current, reference, change),
        **common,
    }


def change_is_rounding(weight: Tensor, initial: Tensor) -> bool:
    """Whether most of |W - W0|^2 is in entries that moved by no more than the last digit of W's number type.

    Args:
        weight: W in its own number type.
        initial: W0 in float64.
    """
    now = weight.double()
    squares = (now - initial).square()
    digit = torch.finfo(weight.dtype).eps * torch.maximum(now.abs(), initial.abs())
    return bool(squares[squares <= digit.square()].sum() > squares.sum() / 2)


def _turned(change: Tensor, current: LayerCovariance, middle: Middle, seed: int) -> Values:
    """c_haar_nfc where the weights have changed."""
    if not torch.isfinite(change).all():
        return _same("c_haar_nfc", undefined(CHANGE_NOT_FINITE))
    readout = current.depth_from_output == 0
    features, powers = FeatureMatrix(change), {"1": 1.0}
    return haar_control(features, middle.spectrum, powers, current.resolution, seed, readout=readout)[0]


def _moved(current: LayerCovariance, reference: Reference, change: Tensor) -> Values:
    """dc_nfc where the weights have changed."""
    if reference.initial_covariance is None:
        return _same("dc_nfc", undefined(NO_INITIAL_K))
    difference = current.covariance - reference.initial_covariance
    size = current.covariance.norm()
    if difference.norm() <= 4 * current.resolution * size:
        return _same("dc_nfc", undefined(K_UNCHANGED))
    if difference.norm() <= current.change_by_rounding * size:
        return _same("dc_nfc", undefined(K_CHANGE_ROUNDING))
    correlations = FeatureMatrix(change).moments(difference).correlations()
    return {(name, "1"): value for name, value in correlations.items()}


def _limits(
    current: LayerCovariance, middle: Middle, reference: Reference, powers: Mapping[str, float]
) -> dict[str, Values]:
    """The centred quantities at W = W0."""
    start, now = reference.initial_covariance, current.covariance
    if start is not None and (now - start).norm() > UNMOVED * start.norm():
        frozen = undefined(FROZEN)
        return {"c_nfc": _same("c_nfc", frozen), "dc_nfc": _same("dc_nfc", frozen)}
    limits = {
        "c_nfc": _same("c_nfc", undefined(AT_START_NO_GRADIENT)),
        "dc_nfc": _same("dc_nfc", undefined(AT_START_TWICE)),
    }
    for quantity, velocity, note in (
        ("c_nfc", *reference.flow),
        ("c_nfc_update", reference.update, FIRST_UPDATE),
    ):
        if velocity is not None:
            values = _direction(velocity, middle, powers)
            limits[quantity] = {c: _noted(value, note) for c, value in values.items()}
    return limits


def _direction(weight: Tensor, middle: Middle, powers: Mapping[str, float]) -> Values:
    """Correlate V^T V with (V^T K V)^s for some V in place of W."""
    if not torch.isfinite(weight).all():
        return {c: undefined(CHANGE_NOT_FINITE) for c in _ALL}
    features = FeatureMatrix(weight)
    return _agop_correlations(features, Agop.of(features, middle), middle, powers)


def _agop_correlations(features: FeatureMatrix, agop: Agop, middle: Middle, powers: Mapping[str, float]) -> Values:
    """Correlate F with G^s in every correlation, for every power."""
    values = _same("uc_nfc", undefined(NO_DEPTH_POWER))
    for power, exponent in _defined(powers).items():
        moments = features.moments(middle.matrix) if exponent == 1 else agop.power_moments(exponent)
        values |= {(name, power): value for name, value in moments.correlations().items()}
    return values


def _fact(features: FeatureMatrix, reference: Reference) -> Values:
    """rho(F, sym(W^T A)); the positive factor 1/lambda of A = -(dL/dW)/lambda changes no correlation."""
    if reference.weight_decay == 0:
        decay = reference.decoupled_decay
        return _same("fact", undefined(DECOUPLED.format(decay=decay) if decay else NO_DECAY))
    if reference.gradient is None:
        return _same("fact", undefined(NO_GRADIENT))
    if not torch.isfinite(reference.gradient).all():
        return _same("fact", undefined(GRADIENT_NOT_FINITE))
    correlations = features.moments_of_product(-reference.gradient).correlations()
    return {(name, None): value for name, value in correlations.items()}


def _depth_law(agop: Agop) -> dict[str, Values]:
    """Find the power of G that fits F best, in every correlation."""
    best = best_powers(agop)
    return {
        f"depth_law_{part}": {(name, None): getattr(found, part) for name, found in best.items()}
        for part in ("power", "fit", "low", "high")
    }


def _defined(powers: Mapping[str, float]) -> dict[str, float]:
    """Powers that have an exponent."""
    return {power: exponent for power, exponent in powers.items() if exponent == exponent}


def _noted(value: Value, note: str) -> Value:
    """Say in the note which limit was taken, before the reason when it is undefined."""
    return Value(value.value, f"{note}: {value.note}" if value.note else note, value.stderr)


def _same(quantity: str, value: Value) -> Values:
    """Give every row of a quantity the same value."""
    return dict.fromkeys(LAYOUT[quantity], value)


def _scalar(value: Value) -> Values:
    """Wrap the value of a quantity that has neither correlation nor power."""
    return {(None, None): value}
