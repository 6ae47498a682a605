"""The factors of UC-NFC and of C-NFC, with their controls, and the controls of C-NFC itself.

directional, spectral        the factors of UC-NFC at power 1, cosine (``nfa.alignment.quantities.split``)
directional_haar, ...        the same with K turned at random
c_directional, ...           the same for the change of the weights, at step 0 for its limit along gradient flow
c_haar_nfc                   C-NFC with K turned at random
..._update                   the same for the limit along the optimizer's first update, at step 0 only
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from nfa.alignment.quantities.centred import (
    Motion,
    first_step,
    motion,
    of_first_step,
    of_motion,
)
from nfa.alignment.quantities.haar import Controls, haar_control, of_weights, turned_covariance
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import DERIVED, MOTION, NOT_NEGATIVE, ONE_NUMBER, POWER_ONE, Quantity
from nfa.alignment.quantities.sketched_split import unbiased_split
from nfa.alignment.quantities.split import split
from nfa.alignment.quantities.values import Value, Values
from nfa.conventions import CORRELATIONS

SHARE = (0.0, 1.0)  # the range of a factor: K is positive semi-definite, so no kappa is negative


@dataclass(frozen=True)
class Subject:
    """A matrix V that is split: the weights, their change, or the first update.

    Attributes:
        prefix: First part of the quantities' names.
        suffix: Last part of the quantities' names.
        whose: Names V in a meaning.
        symbol: Names V in a formula.
        of: Computes values of V; None where the quantity has no rows.
        found: Finds V.
    """

    prefix: str
    suffix: str
    whose: str
    symbol: str
    of: Callable[[LayerContext, Callable[[LayerContext, Motion], Values | Value]], Values | Value | None]
    found: Callable[[LayerContext], Motion | str | None]

    def name(self, middle: str, end: str = "") -> str:
        """Name a quantity of this subject."""
        return f"{self.prefix}{middle}{self.suffix}{end}"

    @property
    def compares(self) -> tuple[str, ...]:
        """What the quantities compare the layer with."""
        return (MOTION,) if self.prefix else ()

    @property
    def optional(self) -> bool:
        """True if the quantities have no rows where there is no V."""
        return bool(self.suffix)


def _weights(layer: LayerContext) -> Motion:
    """Give the weights themselves."""
    return Motion(layer.weight, layer.left_basis)


def _of_weights(layer: LayerContext, values: Callable[[LayerContext, Motion], Values | Value]) -> Values | Value:
    """Compute values of the weights themselves."""
    return values(layer, layer.once(_weights))


WEIGHTS = Subject("", "", "of the weights", "W", _of_weights, _weights)
CHANGE = Subject("c_", "", "of the change of the weights", "W̄", of_motion, motion)
UPDATE = Subject("c_", "_update", "of the optimizer's first update", "V", of_first_step, first_step)


def _split(layer: LayerContext, moved: Motion) -> dict[str, Value]:
    """Split the correlation of V into its factors."""
    return split(moved.basis, layer.middle.matrix)


def _factor(layer: LayerContext, moved: Motion, *, name: str) -> Value:
    """Give one factor of the correlation of V."""
    return layer.once(_split, moved)[name]


def _turned(layer: LayerContext, moved: Motion) -> Controls:
    """Compute the controls of V."""
    if moved.weight is layer.weight:
        return layer.once(of_weights)
    turned, resolution = layer.once(turned_covariance), layer.current.resolution
    return haar_control(moved.basis, turned, {"1": 1.0}, resolution, readout=layer.is_readout)


def _mean(layer: LayerContext, moved: Motion, *, name: str) -> Value:
    """Give the mean of one factor over the rotations."""
    return layer.once(_turned, moved).means[name, None, None]


def _deviation(layer: LayerContext, moved: Motion, *, name: str) -> Value:
    """Give the standard deviation of one factor over the rotations."""
    return layer.once(_turned, moved).deviations[name, None, None]


def _mean_nfc(layer: LayerContext, moved: Motion) -> Values:
    """Give the means of the correlations at power 1."""
    means = layer.once(_turned, moved).means
    return {(name, "1"): means["nfc", name, "1"] for name in CORRELATIONS}


def _deviation_nfc(layer: LayerContext, moved: Motion) -> Values:
    """Give the standard deviations of the correlations at power 1."""
    deviations = layer.once(_turned, moved).deviations
    return {(name, "1"): deviations["nfc", name, "1"] for name in CORRELATIONS}


def _unbiased(layer: LayerContext, subject: Subject, *, name: str) -> Values | None:
    """Give one factor from two sketches of K, without the bias of squared noise."""
    moved = layer.once(subject.found)
    if not isinstance(moved, Motion):
        return None
    return {(None, None): layer.once(_unbiased_split, moved)[name]}


def _unbiased_split(layer: LayerContext, moved: Motion) -> dict[str, Value]:
    """Split the correlation of V by two sketches of K."""
    return unbiased_split(layer.estimator, moved.weight, moved.basis.tie_width)


MEANINGS = {
    "directional": "are K's directions those {whose}? 1 exactly where K is diagonal in their left singular basis",
    "spectral": "does the weight that K gives to the directions {whose} follow their strength?",
}
FORMULAS = {
    "directional": "|diag M| / |M|, M = SUᵀKUS, {symbol} = USVᵀ",
    "spectral": "⟨a, diag M⟩ / (|a| |diag M|), a the squared singular values of {symbol}",
}
LABELS = {"directional": "directional factor", "spectral": "spectral factor"}


def factor_quantities(subject: Subject, factor: str) -> tuple[Quantity, Quantity, Quantity]:
    """Define a factor of one subject's correlation, its control, and the spread of the control."""
    name, kind = subject.name(factor), "C-NFC" if subject.prefix else "UC-NFC"
    control, spread = subject.name(factor, "_haar"), subject.name(factor, "_haar_sd")
    label = f"{LABELS[factor]} of {kind}" + (", first update" if subject.optional else "")
    formula = FORMULAS[factor].format(symbol=subject.symbol)
    quantity = Quantity(
        name=name,
        label=label,
        meaning=MEANINGS[factor].format(whose=subject.whose),
        formula=formula,
        source=DERIVED,
        values=lambda layer: subject.of(layer, partial(_factor, name=factor)),
        unbiased=lambda layer: _unbiased(layer, subject, name=factor),
        rows=ONE_NUMBER,
        control=control,
        spread=spread,
        range=SHARE,
        compares=subject.compares,
        optional=subject.optional,
    )
    mean = Quantity(
        name=control,
        label=f"{label}, K turned at random",
        meaning=f"control of `{name}`: K's spectrum without its directions",
        formula=f"mean of `{name}` with QKQᵀ in place of K over random rotations Q",
        source=DERIVED,
        values=lambda layer: subject.of(layer, partial(_mean, name=factor)),
        range=SHARE,
        compares=subject.compares,
        optional=subject.optional,
    )
    deviation = Quantity(
        name=spread,
        label=f"{label}, spread of K turned at random",
        meaning="spread of that control over the rotations",
        formula=f"standard deviation of `{name}` with QKQᵀ in place of K over the same Q",
        source=DERIVED,
        values=lambda layer: subject.of(layer, partial(_deviation, name=factor)),
        range=NOT_NEGATIVE,
        compares=subject.compares,
        optional=subject.optional,
    )
    return quantity, mean, deviation


def centred_controls(subject: Subject) -> tuple[Quantity, Quantity]:
    """Define the control of a centred correlation, and its spread."""
    control, symbol = subject.name("haar_nfc"), subject.symbol
    correlated = f"ρ({symbol}ᵀ{symbol}, {symbol}ᵀQKQᵀ{symbol})"
    mean = Quantity(
        name=control,
        label="C-NFC, K turned at random" + (", first update" if subject.optional else ""),
        meaning="control of C-NFC: a change of low rank correlates with any K of low rank; power 1 only"
        + ("; along the optimizer's first update" if subject.optional else "; at step 0 along the limit of C-NFC"),
        formula=f"mean of {correlated} over the same Q as `haar_nfc`",
        source=DERIVED,
        values=lambda layer: subject.of(layer, _mean_nfc),
        rows=POWER_ONE,
        compares=subject.compares,
        optional=subject.optional,
    )
    deviation = Quantity(
        name=f"{control}_sd",
        label=f"{mean.label}, spread",
        meaning="spread of that control over the rotations; power 1 only",
        formula=f"standard deviation of {correlated} over the same Q",
        source=DERIVED,
        values=lambda layer: subject.of(layer, _deviation_nfc),
        rows=POWER_ONE,
        range=NOT_NEGATIVE,
        compares=subject.compares,
        optional=subject.optional,
    )
    return mean, deviation


SPLIT_OF_WEIGHTS = (*factor_quantities(WEIGHTS, "directional"), *factor_quantities(WEIGHTS, "spectral"))
SPLIT_OF_CHANGE = (*factor_quantities(CHANGE, "directional"), *factor_quantities(CHANGE, "spectral"))
SPLIT_OF_UPDATE = (*factor_quantities(UPDATE, "directional"), *factor_quantities(UPDATE, "spectral"))
CONTROLS_OF_CHANGE, CONTROLS_OF_UPDATE = centred_controls(CHANGE), centred_controls(UPDATE)
