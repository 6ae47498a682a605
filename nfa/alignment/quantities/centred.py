"""The centred correlations: the ansatz for the change of the weights, W̄ = W - W0.

At W = W0 they are 0/0. The limit t -> 0+ of the centred correlation is rho(V^T V, (V^T K0 V)^s) with V the velocity of
the weights [derived]: -dL/dW for gradient flow, the negative of the learning rule's matrix where the rule is not
backpropagation, or the optimizer's first update.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.ansatz import CHANGE_NOT_FINITE, NO_INITIAL, correlate_with
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.layer import GRADIENT_FLOW, RULE_FLOW, LayerContext
from nfa.alignment.quantities.quantity import (
    DERIVED,
    EVERY_CONVENTION,
    INITIAL_COVARIANCE,
    INITIAL_WEIGHT,
    MOTION,
    OURS,
    PAPER,
    POWER_ONE,
    Quantity,
)
from nfa.alignment.quantities.sketch import Estimator
from nfa.alignment.quantities.split import LeftBasis, tie_width
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
    return bool(torch.where(squares <= digit.square(), squares, 0).sum() > squares.sum() / 2)


def _is_frozen(layer: LayerContext) -> bool:
    """Tell whether K has changed although W equals W0."""
    start = layer.reference.initial_covariance
    return start is not None and bool((layer.covariance - start).norm() > UNMOVED * start.norm())


@dataclass(frozen=True, eq=False)
class Motion:
    """The change of W, or the velocity whose direction it takes in the limit of short training.

    Attributes:
        weight: V, shaped as W.
        basis: V^T V, and the left singular basis of V.
        note: The limit that is taken; empty for a change.
    """

    weight: Tensor
    basis: LeftBasis
    note: str = ""

    def noted(self, values: Values | Value) -> Values | Value:
        """Put the limit before the notes of values."""
        if isinstance(values, Value):
            return noted(values, self.note)
        return {row: noted(value, self.note) for row, value in values.items()}


def motion(layer: LayerContext) -> Motion | str:
    """Give W - W0, or at W = W0 the velocity of the flow; or the reason why there is neither."""
    if unusable := layer.once(no_change):
        return unusable
    if not layer.at_start:
        assert layer.change is not None
        if not torch.isfinite(layer.change).all():
            return CHANGE_NOT_FINITE
        return Motion(layer.change, LeftBasis(layer.change_features, layer.tie_width))
    if layer.once(_is_frozen):
        return FROZEN
    velocity, note = layer.reference.flow
    return AT_START_NO_GRADIENT if velocity is None else _along(layer, velocity, note)


def first_step(layer: LayerContext) -> Motion | str | None:
    """Give the optimizer's first update at W = W0, or the reason why it cannot be used; None elsewhere."""
    update = layer.reference.update
    if update is None or not layer.at_start or layer.once(_is_frozen):
        return None
    return _along(layer, update, FIRST_UPDATE)


def _along(layer: LayerContext, velocity: Tensor, note: str) -> Motion | str:
    """Make the motion along a velocity."""
    if not torch.isfinite(velocity).all():
        return f"{note}: {CHANGE_NOT_FINITE}"
    width = tie_width(velocity, layer.current.own_weight.dtype)
    return Motion(velocity, LeftBasis(FeatureMatrix(velocity), width), note)


def of_motion(layer: LayerContext, values: Callable[[LayerContext, Motion], Values | Value]) -> Values | Value:
    """Compute values of the motion of the weights, with the note of the limit that was taken."""
    moved = layer.once(motion)
    return undefined(moved) if isinstance(moved, str) else moved.noted(values(layer, moved))


def of_first_step(
    layer: LayerContext, values: Callable[[LayerContext, Motion], Values | Value]
) -> Values | Value | None:
    """Compute values of the optimizer's first update, with the note of the limit; None where there is none."""
    moved = layer.once(first_step)
    if moved is None:
        return None
    return undefined(moved) if isinstance(moved, str) else moved.noted(values(layer, moved))


def _correlated(layer: LayerContext, moved: Motion) -> Values | Value:
    """Correlate V^T V with V^T K V at every power."""
    return correlate_with(layer, moved.weight, moved.basis.features)


def moved_weight(moved: Motion | str | None) -> Tensor | None:
    """Give V, where there is one."""
    return moved.weight if isinstance(moved, Motion) else None


def noted(value: Value, note: str) -> Value:
    """Put a note before that of a value."""
    return Value(value.value, ": ".join(filter(None, (note, value.note))), value.stderr)


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


def _unbiased_by_changed_covariance(layer: LayerContext) -> Values | None:
    """Correlate without bias, from the differences of the blocks of K and K0."""
    now, start = layer.current.blocks, layer.reference.initial_blocks
    if layer.change is None or layer.at_start or now is None or start is None:
        return None
    correlations = Estimator.of(now - start, layer.current.population).correlations(layer.change)
    return {(name, "1"): value for name, value in correlations.items()}


C_NFC = Quantity(
    name="c_nfc",
    label="C-NFC",
    meaning="the ansatz for the change of the weights, with the current K; at step 0 its limit t → 0⁺ along gradient "
    "flow on the whole training loss",
    formula="ρ(W̄ᵀW̄, (W̄ᵀKW̄)ˢ); at W = W₀ ρ(VᵀV, (VᵀK₀V)ˢ), V = −∂L/∂W",
    source=f"{PAPER}; the limit: derived",
    values=lambda layer: of_motion(layer, _correlated),
    unbiased=lambda layer: layer.unbiased(moved_weight(layer.once(motion))),
    rows=EVERY_CONVENTION,
    control="c_haar_nfc",
    spread="c_haar_nfc_sd",
    compares=(MOTION,),
)

C_NFC_UPDATE = Quantity(
    name="c_nfc_update",
    label="C-NFC, first update",
    meaning="the limit of C-NFC at step 0 for the optimizer in use; at step 0 only",
    formula="ρ(VᵀV, (VᵀK₀V)ˢ), V the optimizer's first full-batch update",
    source=DERIVED,
    values=lambda layer: of_first_step(layer, _correlated),
    unbiased=lambda layer: layer.unbiased(moved_weight(layer.once(first_step))),
    rows=EVERY_CONVENTION,
    control="c_haar_nfc_update",
    spread="c_haar_nfc_update_sd",
    compares=(MOTION,),
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
    compares=(INITIAL_WEIGHT, INITIAL_COVARIANCE),
)
