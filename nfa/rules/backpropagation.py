"""Backpropagation: the true gradient."""

from torch import Tensor, nn

from nfa.rules.rule import Loss


class Backpropagation:
    """Fills ``grad`` with the true gradient."""

    def __init__(self, model: nn.Module) -> None:
        """Hold the network."""
        self._model = model

    def backward(self, inputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
        """See ``Rule``."""
        value = loss(self._model(inputs), targets)
        if value.isfinite():
            value.backward()
        return value.detach()
