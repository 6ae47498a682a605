"""The question of the ansatz without the strengths: do W W^T and K correlate?

left_nfc        rho(W W^T, K): the left singular structure of W, with its strengths, against K itself
left_nfc_haar   the same with K turned at random
"""

import torch

from nfa.alignment.quantities.haar import of_weights
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import DERIVED, NO_POWER, NOT_NEGATIVE, Quantity
from nfa.alignment.quantities.values import Values


def _left(layer: LayerContext) -> Values:
    """Correlate W W^T with K."""
    left, middle = layer.left, layer.middle.matrix
    moments = left.moments(
        total=middle.sum().item(),
        squared=middle.square().sum().item(),
        product=(left.matrix * middle).sum().item(),
        diagonal=torch.diagonal(middle, dim1=1, dim2=2),
    )
    return {(name, None): value for name, value in moments.correlations().items()}


LEFT_NFC = Quantity(
    name="left_nfc",
    label="left NFC",
    meaning="do the left singular structure of the weights, WWᵀ, and the tangent features correlate? The same question "
    "as UC-NFC without a factor W on either side",
    formula="ρ(WWᵀ, K)",
    source=DERIVED,
    values=_left,
    rows=NO_POWER,
    control="left_nfc_haar",
    spread="left_nfc_haar_sd",
)

LEFT_NFC_HAAR = Quantity(
    name="left_nfc_haar",
    label="left NFC, K turned at random",
    meaning="control of the left NFC: K's spectrum without its directions",
    formula="mean of ρ(WWᵀ, QKQᵀ) over random rotations Q",
    source=DERIVED,
    values=lambda layer: {key: layer.once(of_weights).means["left", *key] for key in NO_POWER},
    rows=NO_POWER,
)

LEFT_NFC_HAAR_SD = Quantity(
    name="left_nfc_haar_sd",
    label="left NFC, spread of K turned at random",
    meaning="spread of that control over the rotations",
    formula="standard deviation of ρ(WWᵀ, QKQᵀ) over the same Q",
    source=DERIVED,
    values=lambda layer: {key: layer.once(of_weights).deviations["left", *key] for key in NO_POWER},
    rows=NO_POWER,
    range=NOT_NEGATIVE,
)
