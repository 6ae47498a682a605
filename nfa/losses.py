"""The training losses, each a mean over samples. Imports torch only when called.

Outputs and targets have one shape, which each loss checks: torch would make n x n of (n, 1) and (n,) without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Loss: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples and outputs of (f - y)^2, without a half; (n, C), (n, C) -> scalar.

    Raises:
        ValueError: Targets of another shape.
    """
    _check_shape("mse", outputs, targets)
    return (outputs - targets).square().mean()


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of -log softmax(f)_y; targets are the centred one-hot code: the largest entry is the class.

    Raises:
        ValueError: Targets of another shape, such as labels, or outputs that are not one for each of several classes.
    """
    from torch.nn import functional

    _check_shape("cross_entropy", outputs, targets)
    if outputs.dim() != 2 or outputs.shape[1] < 2:
        kind = tuple(outputs.shape[1:])
        raise ValueError(f"loss: cross_entropy: needs outputs (n, classes), two or more; one sample's here is {kind}")
    return functional.cross_entropy(outputs, targets.argmax(dim=1))


def logistic(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples and outputs of log(1 + exp(-s f)), s the sign of the target: each output against the rest.

    Raises:
        ValueError: Targets of another shape. A target of 0, which has no sign and so no gradient, is refused by whoever
            brings the targets.
    """
    from torch.nn import functional

    _check_shape("logistic", outputs, targets)
    return functional.softplus(-outputs * targets.sign()).mean()


def _check_shape(name: str, outputs: Tensor, targets: Tensor) -> None:
    """Refuse targets of another shape than the outputs'.

    Raises:
        ValueError: They differ.
    """
    if outputs.shape != targets.shape:
        shapes = f"outputs of shape {tuple(outputs.shape)} and targets of {tuple(targets.shape)}"
        raise ValueError(f"loss: {name}: {shapes}: give one target for each output (classes as one-hot code)")


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
