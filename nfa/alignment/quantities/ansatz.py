"""The neural feature ansatz, and its control by the initial weights.

uc_nfc   rho(F, G^s): do the weights align with the average gradient outer product?
w0_nfc   the same with the initial weights W0 and the current K
"""

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.agop import Agop
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import EVERY_CONVENTION, INITIAL_WEIGHT, OURS, PAPER, Quantity
from nfa.alignment.quantities.values import Value, Values, undefined

NO_DEPTH_POWER = reason("a branching network has no depth-matched power")
NO_INITIAL = reason("no initial weights given")
CHANGE_NOT_FINITE = reason("the direction of change is not finite")


def correlate(layer: LayerContext, features: FeatureMatrix, agop: Agop) -> Values:
    """Correlate V^T V with (V^T K V)^s in every correlation and at every power, for V = W or another matrix.

    Args:
        layer: Gives K and the powers.
        features: V^T V.
        agop: V^T K V, decomposed.
    """
    values = dict.fromkeys(EVERY_CONVENTION, undefined(NO_DEPTH_POWER))
    for power, exponent in layer.powers.items():
        moments = features.moments(layer.middle.matrix) if exponent == 1 else agop.power_moments(exponent)
        values |= {(name, power): value for name, value in moments.correlations().items()}
    return values


def correlate_with(layer: LayerContext, weight: Tensor, features: FeatureMatrix | None = None) -> Values | Value:
    """Correlate V^T V with (V^T K V)^s for a given V, such as W0, a change, or a velocity.

    Args:
        layer: Gives K and the powers.
        weight: V, shaped as W.
        features: V^T V, where it is known.
    """
    if not torch.isfinite(weight).all():
        return undefined(CHANGE_NOT_FINITE)
    features = features or FeatureMatrix(weight)
    return correlate(layer, features, Agop.of(features, layer.middle))


def _initial(layer: LayerContext) -> Values | Value:
    """Correlate for the initial weights."""
    initial = layer.reference.initial_weight
    return undefined(NO_INITIAL) if initial is None else correlate_with(layer, initial)


UC_NFC = Quantity(
    name="uc_nfc",
    label="UC-NFC",
    meaning="the neural feature ansatz itself: do the weights align with the average gradient outer product?",
    formula="ρ(WᵀW, (WᵀKW)ˢ)",
    source=PAPER,
    values=lambda layer: correlate(layer, layer.features, layer.agop),
    unbiased=lambda layer: layer.unbiased(layer.weight),
    rows=EVERY_CONVENTION,
    control="haar_nfc",
    spread="haar_nfc_sd",
)

W0_NFC = Quantity(
    name="w0_nfc",
    label="NFC of W₀",
    meaning="control: do the initial weights align with the current K?",
    formula="ρ(W₀ᵀW₀, (W₀ᵀKW₀)ˢ)",
    source=OURS,
    values=_initial,
    unbiased=lambda layer: layer.unbiased(layer.reference.initial_weight),
    rows=EVERY_CONVENTION,
    compares=(INITIAL_WEIGHT,),
)
