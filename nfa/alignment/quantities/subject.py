"""The matrices V whose alignment with K is measured: the weights, their change, and the optimizer's first update.

A ``Subject`` is one of the three, in any layer, and names the quantities that are computed of it. A ``SubjectMatrix``
is its V in one layer. Quantities of the change have the prefix ``c_``, those of the first update also the suffix
``_update``.

At W = W0 the change is zero, and its correlations are 0/0. In training from W0 with the velocity V of the weights,
W - W0 = t V + O(t^2) and K = K0 + O(t). So a number that a factor of the change leaves as it is has the limit t -> 0+
that is the number of V and K0 [derived]. V is -dL/dW for gradient flow, the negative of the learning rule's matrix
where the rule is not backpropagation, or the optimizer's first update.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.ansatz import CHANGE_NOT_FINITE, NO_INITIAL
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.layer import GRADIENT_FLOW, RULE_FLOW, LayerContext
from nfa.alignment.quantities.quantity import MOTION
from nfa.alignment.quantities.split import LeftBasis, tie_width
from nfa.alignment.quantities.values import Value, Values, undefined

FIRST_UPDATE = reason("limit t -> 0+, along the optimizer's first update")
LIMITS = (GRADIENT_FLOW, RULE_FLOW, FIRST_UPDATE)
AT_START_NO_GRADIENT = reason("W equals W0 and no gradient given")
FROZEN = reason("W equals W0 although the rest of the network has moved: 0/0")
CHANGE_ROUNDING = reason("W - W0 is no more than rounding of W: hardly an entry moved by more than its last digit")
UNMOVED = 1e-4  # relative change of K below which a layer with W = W0 is taken to be at initialisation


@dataclass(frozen=True, eq=False)
class SubjectMatrix:
    """The matrix V of a subject in one layer.

    Attributes:
        weight: V, shaped as W.
        basis: V^T V, and the left singular basis of V.
        name: Names V in a note.
        limit: The limit that is taken, where V is a velocity; empty for the weights and for a change.
    """

    weight: Tensor
    basis: LeftBasis
    name: str
    limit: str = ""

    def noted(self, values: Values | Value) -> Values | Value:
        """Put the limit before the notes of values."""
        if isinstance(values, Value):
            return noted(values, self.limit)
        return {row: noted(value, self.limit) for row, value in values.items()}


def noted(value: Value, note: str) -> Value:
    """Put a note before that of a value."""
    return Value(value.value, ": ".join(filter(None, (note, value.note))), value.stderr)


@dataclass(frozen=True)
class Subject:
    """A matrix V whose alignment with K is measured: the weights, their change, or the first update.

    Attributes:
        prefix: First part of the quantities' names.
        suffix: Last part of the quantities' names.
        nfc: Names the correlation of V^T V with V^T K V in a heading.
        whose: Names V in a meaning.
        symbol: Names V in a formula.
        matrix: Finds V in a layer, or the reason why it cannot be used; None where the quantities have no rows.
    """

    prefix: str
    suffix: str
    nfc: str
    whose: str
    symbol: str
    matrix: Callable[[LayerContext], SubjectMatrix | str | None]

    def name(self, middle: str, end: str = "") -> str:
        """Name a quantity of this subject."""
        return f"{self.prefix}{middle}{self.suffix}{end}"

    @property
    def compares(self) -> tuple[str, ...]:
        """What the quantities of V compare a layer with."""
        return (MOTION,) if self.prefix else ()

    @property
    def optional(self) -> bool:
        """True if the quantities have no rows where there is no V."""
        return bool(self.suffix)

    def of(
        self, layer: LayerContext, values: Callable[[LayerContext, SubjectMatrix], Values | Value]
    ) -> Values | Value | None:
        """Compute values of V, with the note of the limit that was taken; None where there is no V."""
        found = layer.once(self.matrix)
        if isinstance(found, SubjectMatrix):
            return found.noted(values(layer, found))
        return None if found is None else undefined(found)

    def weight(self, layer: LayerContext) -> Tensor | None:
        """Give V, where it can be used."""
        found = layer.once(self.matrix)
        return found.weight if isinstance(found, SubjectMatrix) else None


def weights(layer: LayerContext) -> SubjectMatrix:
    """Give the weights themselves."""
    return SubjectMatrix(layer.weight, layer.left_basis, "W")


def change(layer: LayerContext) -> SubjectMatrix | str:
    """Give W - W0, or at W = W0 the velocity of the flow; or the reason why there is neither."""
    if unusable := layer.once(no_change):
        return unusable
    if not layer.at_start:
        assert layer.change is not None
        if not torch.isfinite(layer.change).all():
            return CHANGE_NOT_FINITE
        return SubjectMatrix(layer.change, LeftBasis(layer.change_features, layer.tie_width), "W - W0")
    if layer.once(is_frozen):
        return FROZEN
    velocity, limit = layer.reference.flow
    return AT_START_NO_GRADIENT if velocity is None else _along(layer, velocity, limit)


def first_update(layer: LayerContext) -> SubjectMatrix | str | None:
    """Give the optimizer's first update at W = W0, or the reason why it cannot be used; None elsewhere."""
    update = layer.reference.update
    if update is None or not layer.at_start or layer.once(is_frozen):
        return None
    return _along(layer, update, FIRST_UPDATE)


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


def is_frozen(layer: LayerContext) -> bool:
    """Tell whether K has changed although W equals W0."""
    start = layer.reference.initial_covariance
    return start is not None and bool((layer.covariance - start).norm() > UNMOVED * start.norm())


def _along(layer: LayerContext, velocity: Tensor, limit: str) -> SubjectMatrix | str:
    """Give a velocity of the weights."""
    if not torch.isfinite(velocity).all():
        return f"{limit}: {CHANGE_NOT_FINITE}"
    width = tie_width(velocity, layer.current.own_weight.dtype)
    return SubjectMatrix(velocity, LeftBasis(FeatureMatrix(velocity), width), "the velocity", limit)


WEIGHTS = Subject("", "", "UC-NFC", "of the weights", "W", weights)
CHANGE = Subject("c_", "", "C-NFC", "of the change of the weights", "W̄", change)
UPDATE = Subject("c_", "_update", "C-NFC, first update", "of the optimizer's first update", "V", first_update)
