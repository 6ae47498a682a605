"""Feedback alignment: errors travel back through fixed random matrices instead of the transposed weights.

Lillicrap et al., arXiv 1411.0247. The feedback is rho W0 + sqrt(1 - rho^2) W', where W' is drawn like the initial
weights W0 (Bordelon & Pehlevan, arXiv 2210.02157); with rho = 1 it stays at the initial weights.

Each layer's forward pass is replaced during the pass of a batch by a sum of two products with the same value: one whose
gradient goes to the weights, and one that is zero and whose gradient goes back to the inputs through the feedback.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from nfa.rules.rule import Loss


class Feedback:
    """Feedback alignment for any network of linear layers and 2d convolutions."""

    def __init__(self, model: nn.Module, other: nn.Module, rho: float) -> None:
        """Draw the feedback matrices.

        Args:
            model: The network at initialisation.
            other: Another network of the same kind, with other random weights.
            rho: Average cosine of the feedback and the initial weights, from 0 to 1.

        Raises:
            ValueError: A weight belongs to neither a linear layer nor a 2d convolution, so it would have no feedback.
        """
        held = {id(module.weight) for module in _layers(model)}
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 and id(parameter) not in held:
                raise ValueError(f"{name} belongs to neither a linear layer nor a 2d convolution: it has no feedback")
        self._model = model
        pairs = zip(_layers(model), _layers(other), strict=True)
        self.feedback = {
            module: rho * module.weight.detach().clone() + (1 - rho**2) ** 0.5 * another.weight.detach()
            for module, another in pairs
        }

    def backward(self, inputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
        """See ``Rule``."""
        with self._replaced():
            value = loss(self._model(inputs), targets)
        if value.isfinite():
            value.backward()
        return value.detach()

    @contextmanager
    def _replaced(self) -> Iterator[None]:
        """Replace the forward pass of every layer, so that errors go back through the feedback."""
        try:
            for module, feedback in self.feedback.items():
                module.forward = _forward(module, feedback)
            yield
        finally:
            for module in self.feedback:
                del module.forward  # uncovers the method of the class


def _layers(model: nn.Module) -> list[Any]:
    """List the linear layers and 2d convolutions of a network."""
    return [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def _forward(module: Any, feedback: Tensor) -> Callable[[Tensor], Tensor]:
    """Make the forward pass of a layer whose errors go back through the feedback."""

    def forward(x: Tensor) -> Tensor:
        # The first product has the gradient for W, the second, whose value is zero, that for the inputs.
        constant, zero = x.detach(), x - x.detach()
        product: Tensor = type(module).forward(module, constant)
        returned: Tensor
        if isinstance(module, nn.Conv2d):
            returned = module._conv_forward(zero, feedback, None)
        else:  # a fixed factor on the weights is also one on the feedback
            returned = functional.linear(zero, feedback) * getattr(module, "multiplier", 1.0)
        return product + returned

    return forward
