"""The training losses, each a mean over samples. Imports torch only when called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples and outputs of (f - y)^2, without a half; (n, C), (n, C) -> scalar."""
    return (outputs - targets).square().mean()


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of -log softmax(f)_y; targets are the centred one-hot code: the largest entry is the class."""
    from torch.nn import functional

    return functional.cross_entropy(outputs, targets.argmax(dim=1))


LOSSES = {"mse": squared_error, "cross_entropy": cross_entropy}
