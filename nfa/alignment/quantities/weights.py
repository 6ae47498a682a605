"""Quantities of the weights alone: how far they moved, and how localised each unit's weights are."""

from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.ansatz import NO_INITIAL
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import INITIAL_WEIGHT, NOT_NEGATIVE, PAPER, WEIGHTS, Quantity
from nfa.alignment.quantities.values import Value, undefined

WEIGHT_ZERO = reason("W is zero")


def _relative_change(layer: LayerContext) -> Value:
    """Compute |W - W0| / |W|."""
    if layer.change is None:
        return undefined(NO_INITIAL)
    norm = layer.weight.norm().item()
    return Value(layer.change.norm().item() / norm) if norm > 0 else undefined(WEIGHT_ZERO)


def localisation(weight: Tensor) -> Value:
    """Average over units the inverse participation ratio of a unit's weights, sum_j w_j^4 / (sum_j w_j^2)^2.

    Args:
        weight: W, (k, d) or (g, k, d); a unit is a row. Units without weights are left out.

    Example:
        >>> import torch
        >>> localisation(torch.tensor([[0.0, 2.0, 0.0], [1.0, 1.0, 0.0]])).value  # one input; two of equal size
        0.75
    """
    rows = weight.double().reshape(-1, weight.shape[-1])
    sizes = rows.abs().amax(1, keepdim=True)
    kept = sizes[:, 0] > 0
    if not kept.any():
        return undefined(WEIGHT_ZERO)
    squares = (rows[kept] / sizes[kept]).square()
    return Value((squares.square().sum(1) / squares.sum(1).square()).mean().item())


RELATIVE_CHANGE = Quantity(
    name="relative_change",
    label="relative change",
    meaning="how much of W is learned",
    formula="|W̄| / |W|",
    source=f"{PAPER}, public code",
    values=_relative_change,
    range=NOT_NEGATIVE,
    depends_on=WEIGHTS,
    compares=(INITIAL_WEIGHT,),
)

LOCALISATION = Quantity(
    name="localisation",
    label="localisation",
    meaning="1: each unit sees one input; about 3/d: Gaussian weights; 1/d: all weights of a unit are equal in size",
    formula="mean over units (rows w of W) of Σw⁴ / (Σw²)²",
    source="inverse participation ratio, arXiv 2202.00565",
    values=lambda layer: localisation(layer.weight),
    range=(0.0, 1.0),
    depends_on=WEIGHTS,
)
