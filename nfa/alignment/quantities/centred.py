"""The centred correlations: the ansatz for the change of the weights, W̄ = W - W0.

c_nfc          rho(W̄^T W̄, (W̄^T K W̄)^s), with the current K; at step 0 its limit
c_nfc_update   the limit at step 0 along the optimizer's first update
c_haar_nfc     the same with K turned at random
dc_nfc         the part that comes from the change of K
"""

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.ansatz import correlate_with
from nfa.alignment.quantities.controls import control_quantities
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import (
    DERIVED,
    EVERY_CONVENTION,
    INITIAL_COVARIANCE,
    INITIAL_WEIGHT,
    OURS,
    PAPER,
    POWER_ONE,
    Quantity,
)
from nfa.alignment.quantities.sketch import Estimator
from nfa.alignment.quantities.subject import CHANGE, FROZEN, UPDATE, Subject, SubjectMatrix, is_frozen, no_change
from nfa.alignment.quantities.values import Value, Values, undefined

NO_INITIAL_K = reason("no initial covariance given")
AT_START_TWICE = reason("W equals W0: 0/0, and K - K0 is 0 at second order")
K_UNCHANGED = reason("K has not changed")
K_CHANGE_ROUNDING = reason("K has changed by no more than rounding")


def _correlated(layer: LayerContext, matrix: SubjectMatrix) -> Values | Value:
    """Correlate V^T V with V^T K V at every power."""
    return correlate_with(layer, matrix.weight, matrix.basis.features)


def _by_changed_covariance(layer: LayerContext) -> Values | Value:
    """Correlate for the change of the weights, with K - K0 in place of K."""
    if unusable := layer.once(no_change):
        return undefined(unusable)
    if layer.at_start:
        return undefined(FROZEN if layer.once(is_frozen) else AT_START_TWICE)
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
    values=lambda layer: CHANGE.of(layer, _correlated),
    unbiased=lambda layer: layer.unbiased(CHANGE.weight(layer)),
    rows=EVERY_CONVENTION,
    control="c_haar_nfc",
    spread="c_haar_nfc_sd",
    compares=CHANGE.compares,
)

C_NFC_UPDATE = Quantity(
    name="c_nfc_update",
    label="C-NFC, first update",
    meaning="the limit of C-NFC at step 0 for the optimizer in use; at step 0 only",
    formula="ρ(VᵀV, (VᵀK₀V)ˢ), V the optimizer's first full-batch update",
    source=DERIVED,
    values=lambda layer: UPDATE.of(layer, _correlated),
    unbiased=lambda layer: layer.unbiased(UPDATE.weight(layer)),
    rows=EVERY_CONVENTION,
    control="c_haar_nfc_update",
    spread="c_haar_nfc_update_sd",
    compares=UPDATE.compares,
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


def _controls(subject: Subject) -> tuple[Quantity, ...]:
    """Define the control of a centred correlation at power 1, and its spread."""
    where = "along the optimizer's first update" if subject.optional else "at step 0 along the limit of C-NFC"
    return control_quantities(
        subject,
        subject.name("haar_nfc"),
        "nfc",
        POWER_ONE,
        label=subject.nfc,
        meaning=f"control of C-NFC: a change of low rank correlates with any K of low rank; power 1 only; {where}",
        correlated=f"ρ({subject.symbol}ᵀ{subject.symbol}, {subject.symbol}ᵀQKQᵀ{subject.symbol})",
    )


CONTROLS_OF_CHANGE, CONTROLS_OF_UPDATE = _controls(CHANGE), _controls(UPDATE)
