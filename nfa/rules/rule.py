"""The protocol of a learning rule."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


class Rule(Protocol):
    """Fills the ``grad`` of a network's parameters with the gradient, or with the rule's substitute for it."""

    def backward(self, inputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
        """Run a batch forward and add to the parameters' ``grad``; add nothing if the loss is not finite.

        Args:
            inputs: (n, *input shape).
            targets: (n, C).
            loss: (outputs, targets) -> mean loss.

        Returns:
            The loss, a scalar without a graph.
        """
