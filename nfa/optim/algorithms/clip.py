"""Clipping by the global norm of the gradient (Pascanu, Mikolov & Bengio, arXiv 1211.5063)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from nfa.optim.algorithms.stacked import along, norms


@torch.no_grad()
def clip_(parameters: Iterable[Tensor], norm: float | None, *, stacked: bool = False) -> Tensor | None:
    """Scale the gradients down in place, so that their global norm is at most ``norm``.

    Call it between ``backward`` and ``step``. Coupled weight decay is added later, by the optimizer, and is
    therefore not clipped.

    Args:
        parameters: Parameters; those without a gradient are ignored.
        norm: Largest norm, more than 0; None changes nothing.
        stacked: Axis 0 counts S independent networks, each clipped by itself.

    Returns:
        The norm before clipping: a scalar, or (S,) where stacked; None where nothing is to be clipped. On a GPU the
        result is not waited for.

    Raises:
        ValueError: ``norm`` is not more than 0, which would reverse gradients or make them vanish.
    """
    if norm is not None and not norm > 0:  # NaN is not either
        raise ValueError(f"norm: {norm} must be more than 0, or None not to clip")
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if norm is None or not gradients:
        return None
    total = norms(torch.stack([norms(gradient, stacked) for gradient in gradients], dim=-1), stacked)
    factor = (norm / total).clamp(max=1.0)  # norm / 0 is infinite, so 1; NaN stays NaN
    for gradient in gradients:
        gradient.mul_(along(factor.to(gradient.dtype), gradient))
    return total
