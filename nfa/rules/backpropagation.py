"""The gradient itself."""

from torch import Tensor, nn

from nfa.rules.rule import Loss


class Backpropagation:
    """True gradients."""

    def __init__(self, model: nn.Module) -> None:
        """Learn with this network."""
        self._model = model

    def backward(self, inputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
        """See ``Rule``."""
        value = loss(self._model(inputs), targets)
        if value.isfinite():
            value.backward()
        return value.detach()
