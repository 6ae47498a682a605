"""Feedback alignment: errors travel back through fixed random matrices in place of the transposed weights.

Lillicrap et al. (arXiv 1411.0247). With rho > 0 the feedback starts partly aligned, rho W0 + sqrt(1 - rho^2) W', W'
drawn as W0 was (Bordelon & Pehlevan, arXiv 2210.02157); rho = 1 keeps the initial weights for good.
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
        """Fix the feedback.

        Args:
            model: The network at initialisation.
            other: Another one drawn alike.
            rho: Cosine between the feedback and the initial weights, on average; 0 to 1.

        Raises:
            ValueError: A weight that is of no linear layer or 2d convolution: errors would go back through itself.
        """
        held = {id(module.weight) for module in _layers(model)}
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 and id(parameter) not in held:
                raise ValueError(f"{name} is of no linear layer or 2d convolution, which this rule has feedback for")
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
        """Let every layer send its errors back through the feedback."""
        try:
            for module, feedback in self.feedback.items():
                module.forward = _forward(module, feedback)
            yield
        finally:
            for module in self.feedback:
                del module.forward  # the class's is seen again


def _layers(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def _forward(module: Any, feedback: Tensor) -> Callable[[Tensor], Tensor]:
    """Forward pass of a layer whose backward pass uses the feedback for the weights."""

    def own(x: Tensor) -> Tensor:
        # d/dW from the true weights at a constant input; d/dx from the feedback, at a value that is zero.
        constant, zero = x.detach(), x - x.detach()
        product: Tensor = type(module).forward(module, constant)
        returned: Tensor
        if isinstance(module, nn.Conv2d):
            returned = module._conv_forward(zero, feedback, None)
        else:  # a fixed factor on the weights is one on the feedback
            returned = functional.linear(zero, feedback) * getattr(module, "multiplier", 1.0)
        return product + returned

    return own
