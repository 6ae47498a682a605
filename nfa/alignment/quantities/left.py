"""The question of the ansatz without the strengths of one side: do V V^T and K correlate?

left_nfc        rho(V V^T, K): the left singular structure of V, with its strengths, against K itself
left_nfc_haar   the same with K turned at random

V is the weights, their change, or the optimizer's first update (``nfa.alignment.quantities.subject``).
"""

import torch

from nfa.alignment.quantities.controls import control_quantities
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import DERIVED, NO_POWER, Quantity
from nfa.alignment.quantities.subject import Subject, SubjectMatrix
from nfa.alignment.quantities.values import Values


def _left(layer: LayerContext, matrix: SubjectMatrix) -> Values:
    """Correlate V V^T with K."""
    left, middle = matrix.basis.left, layer.middle.matrix
    moments = left.moments(
        total=middle.sum().item(),
        squared=middle.square().sum().item(),
        product=(left.matrix * middle).sum().item(),
        diagonal=torch.diagonal(middle, dim1=1, dim2=2),
    )
    return {(name, None): value for name, value in moments.correlations().items()}


def left_quantities(subject: Subject) -> tuple[Quantity, ...]:
    """Define the correlation of V V^T with K, its control, and the spread of the control."""
    label, symbol = f"left {subject.nfc}", subject.symbol
    mean, deviation = control_quantities(
        subject,
        subject.name("left_nfc", "_haar"),
        "left",
        NO_POWER,
        label=label,
        meaning=f"control of `{subject.name('left_nfc')}`: K's spectrum without its directions",
        correlated=f"ρ({symbol}{symbol}ᵀ, QKQᵀ)",
    )
    correlation = Quantity(
        name=subject.name("left_nfc"),
        label=label,
        meaning=f"do the left singular structure {subject.whose}, {symbol}{symbol}ᵀ, and the tangent features "
        f"correlate? The question of the ansatz without a factor {symbol} on either side",
        formula=f"ρ({symbol}{symbol}ᵀ, K)",
        source=DERIVED,
        values=lambda layer: subject.of(layer, _left),
        rows=NO_POWER,
        control=mean.name,
        spread=deviation.name,
        compares=subject.compares,
        optional=subject.optional,
    )
    return correlation, mean, deviation
