"""The two factors of UC-NFC and of C-NFC as quantities, with their controls.

directional, spectral        the factors at power 1, cosine (``nfa.alignment.quantities.split``)
directional_haar, ...        the same with K turned at random
c_directional, ...           the same for the change of the weights, at step 0 for its limit along gradient flow
c_directional_update, ...    the same for the limit along the optimizer's first update, at step 0 only
"""

from functools import partial

from nfa.alignment.quantities.controls import control_quantities
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import DERIVED, ONE_NUMBER, Quantity
from nfa.alignment.quantities.sketched_split import unbiased_split
from nfa.alignment.quantities.split import split
from nfa.alignment.quantities.subject import Subject, SubjectMatrix
from nfa.alignment.quantities.values import Value, Values

SHARE = (0.0, 1.0)  # the range of a factor: K is positive semi-definite, so no kappa is negative


def _split(layer: LayerContext, matrix: SubjectMatrix) -> dict[str, Value]:
    """Split the correlation of V into its factors."""
    return split(matrix.basis, layer.middle.matrix)


def _factor(layer: LayerContext, matrix: SubjectMatrix, *, name: str) -> Value:
    """Give one factor of the correlation of V."""
    return layer.once(_split, matrix)[name]


def _unbiased(layer: LayerContext, subject: Subject, *, name: str) -> Values | None:
    """Give one factor from two sketches of K, without the bias of squared noise."""
    matrix = layer.once(subject.matrix)
    if not isinstance(matrix, SubjectMatrix):
        return None
    return {(None, None): layer.once(_unbiased_split, matrix)[name]}


def _unbiased_split(layer: LayerContext, matrix: SubjectMatrix) -> dict[str, Value]:
    """Split the correlation of V by two sketches of K."""
    return unbiased_split(layer.estimator, matrix.weight, matrix.basis.tie_width)


MEANINGS = {
    "directional": "are K's directions those {whose}? 1 exactly where K is diagonal in their left singular basis",
    "spectral": "does the weight that K gives to the directions {whose} follow their strength?",
}
FORMULAS = {
    "directional": "|diag M| / |M|, M = SUᵀKUS, {symbol} = USVᵀ",
    "spectral": "⟨a, diag M⟩ / (|a| |diag M|), a the squared singular values of {symbol}",
}
LABELS = {"directional": "directional factor", "spectral": "spectral factor"}


def factor_quantities(subject: Subject, factor: str) -> tuple[Quantity, ...]:
    """Define a factor of one subject's correlation, its control, and the spread of the control."""
    name, label = subject.name(factor), f"{LABELS[factor]} of {subject.nfc}"
    mean, deviation = control_quantities(
        subject,
        subject.name(factor, "_haar"),
        factor,
        ONE_NUMBER,
        label=label,
        meaning=f"control of `{name}`: K's spectrum without its directions",
        correlated=f"`{name}` with QKQᵀ in place of K",
        bounds=SHARE,
    )
    quantity = Quantity(
        name=name,
        label=label,
        meaning=MEANINGS[factor].format(whose=subject.whose),
        formula=FORMULAS[factor].format(symbol=subject.symbol),
        source=DERIVED,
        values=lambda layer: subject.of(layer, partial(_factor, name=factor)),
        unbiased=lambda layer: _unbiased(layer, subject, name=factor),
        rows=ONE_NUMBER,
        control=mean.name,
        spread=deviation.name,
        range=SHARE,
        compares=subject.compares,
        optional=subject.optional,
    )
    return quantity, mean, deviation
