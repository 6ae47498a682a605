"""Error-modulated Hebbian learning (arXiv 2210.02157): errors scale how connections of active units strengthen.

The update of a hidden layer is the mean over samples of |error|^2 a_l a_(l-1)^T, where error = n dL/df of the sample.
The substitute for the gradient of the pre-activations is therefore -|error|^2 a_l / n. The readout has its true
gradient.
"""

import torch
from torch import Tensor, nn

from nfa.rules.chain import Chain
from nfa.rules.rule import Loss


class Hebb:
    """Error-modulated Hebbian learning for a chain of layers."""

    def __init__(self, model: nn.Module) -> None:
        """Hold the network, an ``nn.Sequential``."""
        self._chain = Chain(model)

    def backward(self, inputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
        """See ``Rule``."""
        kept: list[Tensor] = []  # pre-activations of the hidden layers
        layers = [_first_layer(segment) for segment in self._chain.segments[:-1]]
        handles = [layer.register_forward_hook(lambda _, __, output: kept.append(output)) for layer in layers]
        try:
            outputs = self._chain.forward(inputs)
        finally:
            for handle in handles:
                handle.remove()
        value = loss(outputs[-1], targets)
        if value.isfinite():
            n = len(inputs)
            (error,) = torch.autograd.grad(value, outputs[-1], retain_graph=True)
            modulation = (n * error).square().sum(1)
            errors = []
            for pre, activation in zip(kept, _activations(self._chain, kept), strict=True):
                shape = (n, *(1,) * (pre.dim() - 1))
                errors.append(-modulation.view(shape) * activation / n)
            torch.autograd.backward([*kept, outputs[-1]], [*errors, error])
        return value.detach()


def _first_layer(segment: nn.Sequential) -> nn.Module:
    """Return the module of a segment that has the weights."""
    return next(module for module in segment if any(p.dim() >= 2 for p in module.parameters()))


@torch.no_grad()
def _activations(chain: Chain, kept: list[Tensor]) -> list[Tensor]:
    """Apply the module after each hidden layer to its pre-activations h; keep h if the module changes its shape."""
    activations = []
    for segment, pre in zip(chain.segments[:-1], kept, strict=True):
        modules = list(segment)
        after = modules.index(_first_layer(segment)) + 1
        value = modules[after](pre) if after < len(modules) else pre
        activations.append(value if value.shape == pre.shape else pre)
    return activations
