"""The training losses, each a mean over samples. Imports torch only when called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Loss: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples and outputs of (f - y)^2, without a half; (n, C), (n, C) -> scalar."""
    return (outputs - targets).square().mean()


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of -log softmax(f)_y; targets are the centred one-hot code: the largest entry is the class."""
    from torch.nn import functional

    return functional.cross_entropy(outputs, targets.argmax(dim=1))


def logistic(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples and outputs of log(1 + exp(-s f)), s the sign of the target: each output against the rest."""
    from torch.nn import functional

    return functional.softplus(-outputs * targets.sign()).mean()


LOSSES = {"mse": squared_error, "cross_entropy": cross_entropy, "logistic": logistic}


def decoupled(loss: Loss, strength: float) -> Loss:
    """Add spectral decoupling, strength / 2 times the mean of f^2 (Pezeshki et al., arXiv 2011.09468).

    Args:
        loss: (outputs, targets) -> scalar.
        strength: lambda; 0 gives the loss itself.
    """
    if strength == 0:
        return loss
    return lambda outputs, targets: loss(outputs, targets) + 0.5 * strength * outputs.square().mean()
