"""Take a network that is a chain of layers apart, for rules that give each layer its own error."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class Chain:
    """The segments of an ``nn.Sequential``: a layer with weights, and the modules after it up to the next such layer.

    Attributes:
        segments: In forward order; the last one is the readout.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take a network apart.

        Raises:
            ValueError: The network is not an ``nn.Sequential`` whose layers are direct children.
        """
        if not isinstance(model, nn.Sequential):
            raise ValueError(f"{type(model).__name__} is not a chain of layers: this rule gives each its own error")
        modules = list(model)
        for module in modules:
            if sum(p.dim() >= 2 for p in module.parameters()) > 1:
                raise ValueError(f"{type(module).__name__} holds several layers: this rule gives each its own error")
        starts = [i for i, module in enumerate(modules) if any(p.dim() >= 2 for p in module.parameters())]
        self.segments = [nn.Sequential(*modules[start:end]) for start, end in pairwise([0, *starts[1:], len(modules)])]

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Run a batch forward, and return the outputs of all segments; each graph ends at its segment's input."""
        outputs: list[Tensor] = []
        x = inputs
        for segment in self.segments:
            x = segment(x)
            outputs.append(x)
            x = x.detach()
        return outputs


def send_back(outputs: list[Tensor], errors: list[Tensor]) -> None:
    """Add each segment's gradients to the ``grad`` of its parameters, given the error of the segment's output.

    Args:
        outputs: Outputs of the segments, as ``Chain.forward`` returns them.
        errors: In place of the derivative of the loss by each output, shaped as it.
    """
    torch.autograd.backward(outputs, errors)
