"""Directions that optimizers follow in place of the gradient: Adam's (Kingma & Ba, arXiv 1412.6980) and momentum."""

from typing import Any

import torch
from torch import Tensor

EPS = 1e-8


def adam_direction(state: dict[str, Any], gradient: Tensor, betas: tuple[float, float], eps: float = EPS) -> Tensor:
    """Update Adam's moments by a gradient; return their bias-corrected ratio m / (sqrt(v) + eps), entry by entry.

    Args:
        state: The parameter's state: ``step``, ``exp_avg`` and ``exp_avg_sq``, created on the first call.
        gradient: The gradient.
        betas: Decay of the mean of gradients, and of squared gradients.
        eps: Added to the root.
    """
    if not state:
        state["step"] = torch.tensor(0.0)  # on the CPU: read at every step
        state["exp_avg"] = torch.zeros_like(gradient)
        state["exp_avg_sq"] = torch.zeros_like(gradient)
    state["step"] += 1
    step = state["step"].item()
    mean = state["exp_avg"].lerp_(gradient, 1 - betas[0])
    square = state["exp_avg_sq"].mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    root = square.sqrt().div_((1 - betas[1] ** step) ** 0.5).add_(eps)
    direction: Tensor = (mean / (1 - betas[0] ** step)).div_(root)
    return direction


def momentum_direction(state: dict[str, Any], gradient: Tensor, beta: float) -> Tensor:
    """Update the momentum m <- beta m + g by a gradient g, and return a copy of m.

    Args:
        state: The parameter's state: ``momentum_buffer``, created on the first call.
        gradient: The gradient.
        beta: Decay of the momentum.
    """
    if not state:
        state["momentum_buffer"] = torch.zeros_like(gradient)
    momentum: Tensor = state["momentum_buffer"].mul_(beta).add_(gradient)
    return momentum.clone()
