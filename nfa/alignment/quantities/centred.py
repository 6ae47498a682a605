"""The centred correlations: the ansatz for the change of the weights, W̄ = W - W0.

At W = W0 they are 0/0. The limit t -> 0+ of the centred correlation is rho(V^T V, (V^T K0 V)^s) with V the velocity of
the weights [derived]: -dL/dW for gradient flow, the negative of the learning rule's matrix where the rule is not
backpropagation, or the optimizer's first update.
"""

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.ansatz import NO_INITIAL, correlate_with
from nfa.alignment.quantities.layer import GRADIENT_FLOW, RULE_FLOW, LayerContext
from nfa.alignment.quantities.quantity import DERIVED, EVERY_CONVENTION, OURS, PAPER, POWER_ONE, Quantity
from nfa.alignment.quantities.sketch import Estimator
from nfa.alignment.quantities.values import Value, Values, undefined

FIRST_UPDATE = reason("limit t -> 0+, along the optimizer's first update")
LIMITS = (GRADIENT_FLOW, RULE_FLOW, FIRST_UPDATE)
NO_INITIAL_K = reason("no initial covariance given")
AT_START_TWICE = reason("W equals W0: 0/0, and K - K0 is 0 at second order")
AT_START_NO_GRADIENT = reason("W equals W0 and no gradient given")
FROZEN = reason("W equals W0 although the rest of the network has moved: 0/0")
CHANGE_ROUNDING = reason("W - W0 is no more than rounding of W: hardly an entry moved by more than its last digit")
K_UNCHANGED = reason("K has not changed")
K_CHANGE_ROUNDING = reason("K has changed by no more than rounding")
UNMOVED = 1e-4  # relative change of K below which a layer with W = W0 is taken to be at initialisation


def no_change(layer: LayerContext) -> str:
    """Give the reason why W - W0 is not known or is rounding; empty where it can be used, or where it is zero."""
    if layer.reference.initial_weight is None:
        return NO_INITIAL
    if not layer.at_start and change_is_rounding(layer.current.own_weight, layer.reference.initial_weight):
        return CHANGE_ROUNDING
    return ""


def change_is_rounding(weight: Tensor, initial: Tensor) -> bool:
    """Tell whether most of |W - W0|^2 is in entries that moved by no more than the last digit of W's number type.

    Args:
        weight: W in its own number type.
        initial: W0 in float64.
    """
    now = weight.double()
    squares = (now - initial).square()
    digit = torch.finfo(weight.dtype).eps * torch.maximum(now.abs(), initial.abs())
    return bool(squares[squares <= digit.square()].sum() > squares.sum() / 2)


def _is_frozen(layer: LayerContext) -> bool:
    """Tell whether K has changed although W equals W0."""
    start = layer.reference.initial_covariance
    return start is not None and bool((layer.covariance - start).norm() > UNMOVED * start.norm())


def _centred(layer: LayerContext) -> Values | Value:
    """Correlate for the change of the weights, or for its limit at W = W0."""
    if unusable := layer.once(no_change):
        return undefined(unusable)
    if not layer.at_start:
        assert layer.change is not None
        return correlate_with(layer, layer.change, layer.change_features)
    if layer.once(_is_frozen):
        return undefined(FROZEN)
    velocity, note = layer.reference.flow
    return undefined(AT_START_NO_GRADIENT) if velocity is None else _limit(layer, velocity, note)


def _along_update(layer: LayerContext) -> Values | Value | None:
    """Correlate along the optimizer's first update at W = W0; None elsewhere."""
    update = layer.reference.update
    if update is None or not layer.at_start or layer.once(_is_frozen):
        return None
    return _limit(layer, update, FIRST_UPDATE)


def _limit(layer: LayerContext, velocity: Tensor, note: str) -> Values | Value:
    """Correlate along a velocity, with a note that names the limit, followed by the reason where it is undefined."""
    found = correlate_with(layer, velocity)
    if isinstance(found, Value):
        return noted(found, note)
    return {row: noted(value, note) for row, value in found.items()}


def noted(value: Value, note: str) -> Value:
    """Put a note before that of a value."""
    return Value(value.value, f"{note}: {value.note}" if value.note else note, value.stderr)


def _by_changed_covariance(layer: LayerContext) -> Values | Value:
    """Correlate for the change of the weights, with K - K0 in place of K."""
    if unusable := layer.once(no_change):
        return undefined(unusable)
    if layer.at_start:
        return undefined(FROZEN if layer.once(_is_frozen) else AT_START_TWICE)
    if layer.reference.initial_covariance is None:
        return undefined(NO_INITIAL_K)
    difference = layer.covariance - layer.reference.initial_covariance
    size = layer.covariance.norm()
    if difference.norm() <= 4 * layer.current.resolution * size:
        return undefined(K_UNCHANGED)
    if difference.norm() <= layer.current.change_by_rounding * size:
        return undefined(K_CHANGE_ROUNDING)
    correlations = layer.change_features.moments(difference).correlations()
    return {(name, "1"): value for name, value in correlations.items()}


def _unbiased_by_changed_covariance(layer: LayerContext) -> dict[str, Value] | None:
    """Correlate without bias, from the differences of the blocks of K and K0."""
    now, start = layer.current.blocks, layer.reference.initial_blocks
    if layer.change is None or layer.at_start or now is None or start is None:
        return None
    return Estimator.of(now - start, layer.current.population).correlations(layer.change)


C_NFC = Quantity(
    name="c_nfc",
    label="C-NFC",
    meaning="the ansatz for the change of the weights, with the current K; at step 0 its limit t → 0⁺ along gradient "
    "flow on the whole training loss",
    formula="ρ(W̄ᵀW̄, (W̄ᵀKW̄)ˢ); at W = W₀ ρ(VᵀV, (VᵀK₀V)ˢ), V = −∂L/∂W",
    source=f"{PAPER}; the limit: derived",
    values=_centred,
    unbiased=lambda layer: layer.unbiased(layer.reference.flow[0] if layer.at_start else layer.change),
    rows=EVERY_CONVENTION,
    control="c_haar_nfc",
)

C_NFC_UPDATE = Quantity(
    name="c_nfc_update",
    label="C-NFC, first update",
    meaning="the limit of C-NFC at step 0 for the optimizer in use; at step 0 only",
    formula="ρ(VᵀV, (VᵀK₀V)ˢ), V the optimizer's first full-batch update",
    source=DERIVED,
    values=_along_update,
    unbiased=lambda layer: layer.unbiased(layer.reference.update),
    rows=EVERY_CONVENTION,
    optional=True,
)

DC_NFC = Quantity(
    name="dc_nfc",
    label="C-NFC, change of K",
    meaning="the part of C-NFC that comes from the change of K; power 1 only, as the matrix is indefinite",
    formula="ρ(W̄ᵀW̄, W̄ᵀ(K − K₀)W̄)",
    source=OURS,
    values=_by_changed_covariance,
    unbiased=_unbiased_by_changed_covariance,
    rows=POWER_ONE,
)
