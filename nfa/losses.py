"""The training losses, each a mean over samples. torch is imported only when a loss is called.

Outputs and targets must have the same shape, which each loss checks: torch would silently broadcast (n, 1) and (n,) to
(n, n).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Loss: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over samples and outputs of (f - y)^2, without a factor 1/2; (n, C), (n, C) -> scalar.

    Example:
        >>> import torch
        >>> squared_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])).item()
        2.5

    Raises:
        ValueError: Targets of another shape.
    """
    _check_shape("mse", outputs, targets)
    return (outputs - targets).square().mean()


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over samples of -log softmax(f)_y; (n, C), (n, C) -> scalar.

    Targets are the centred one-hot code, so the largest entry of a row is the class y.

    Raises:
        ValueError: The targets have another shape, such as that of labels, or the outputs are not (n, C) with C >= 2.
    """
    from torch.nn import functional

    _check_shape("cross_entropy", outputs, targets)
    if outputs.dim() != 2 or outputs.shape[1] < 2:
        kind = tuple(outputs.shape[1:])
        raise ValueError(f"loss: cross_entropy: needs outputs (n, classes), two or more; one sample's here is {kind}")
    return functional.cross_entropy(outputs, targets.argmax(dim=1))


def logistic(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over samples and outputs of log(1 + exp(-s f)), s the target's sign; (n, C), (n, C) -> scalar.

    Each output is a classifier of one class against the others. A target of 0 has no sign and so gives no gradient; the
    caller must refuse it.

    Raises:
        ValueError: The targets have another shape.
    """
    from torch.nn import functional

    _check_shape("logistic", outputs, targets)
    return functional.softplus(-outputs * targets.sign()).mean()


def _check_shape(name: str, outputs: Tensor, targets: Tensor) -> None:
    """Refuse targets whose shape is not that of the outputs.

    Raises:
        ValueError: The shapes differ.
    """
    if outputs.shape != targets.shape:
        shapes = f"outputs of shape {tuple(outputs.shape)} and targets of {tuple(targets.shape)}"
        raise ValueError(f"loss: {name}: {shapes}: give one target for each output (classes as one-hot code)")


LOSSES = {"mse": squared_error, "cross_entropy": cross_entropy, "logistic": logistic}


def decoupled(loss: Loss, strength: float) -> Loss:
    """Add spectral decoupling to a loss: strength / 2 times the mean of f^2 (Pezeshki et al., arXiv 2011.09468).

    Args:
        loss: (outputs, targets) -> scalar.
        strength: The factor, lambda in the paper; 0 returns the loss itself.
    """
    if strength == 0:
        return loss
    return lambda outputs, targets: loss(outputs, targets) + 0.5 * strength * outputs.square().mean()
