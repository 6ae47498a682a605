"""The rival account of alignment, by weight decay: features at convergence (arXiv 2507.05644)."""

import torch

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import GRADIENT, LOSS_GRADIENT, NO_POWER, Quantity
from nfa.alignment.quantities.values import Value, Values, undefined

NO_DECAY = reason("weight decay is 0")
DECOUPLED = reason("weight decay is decoupled, lambda = {decay:g}: FACT is about a coupled one, which is 0")
NO_LOSS_GRADIENT = reason("no gradient given")
GRADIENT_NOT_FINITE = reason("the gradient is not finite")


def _fact(layer: LayerContext) -> Values | Value:
    """Correlate F with sym(W^T A); the positive factor 1/lambda of A = -(dL/dW)/lambda changes no correlation."""
    reference = layer.reference
    if reference.weight_decay == 0:
        decay = reference.decoupled_decay
        return undefined(DECOUPLED.format(decay=decay) if decay else NO_DECAY)
    if reference.gradient is None:
        return undefined(NO_LOSS_GRADIENT)
    if not torch.isfinite(reference.gradient).all():
        return undefined(GRADIENT_NOT_FINITE)
    correlations = layer.features.moments_of_product(-reference.gradient).correlations()
    return {(name, None): value for name, value in correlations.items()}


FACT = Quantity(
    name="fact",
    label="FACT",
    meaning="the rival account by weight decay: 1 at a stationary point of the decayed loss; undefined without a "
    "coupled weight decay",
    formula="ρ(WᵀW, sym(WᵀA)), A = −(1/λ) ∂L/∂W, λ the coupled weight decay",
    source="arXiv 2507.05644",
    values=_fact,
    rows=NO_POWER,
    depends_on=GRADIENT,
    compares=(LOSS_GRADIENT,),
)
