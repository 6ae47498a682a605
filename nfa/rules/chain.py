"""A network that is a chain of layers, taken apart: what rules need that give each layer its own error."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class Chain:
    """The segments of an ``nn.Sequential``: a layer with weights, and all that follows it up to the next.

    Attributes:
        segments: In forward order; the last one is the readout.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take a network apart.

        Raises:
            ValueError: Not an ``nn.Sequential`` whose layers are direct children.
        """
        if not isinstance(model, nn.Sequential):
            raise ValueError(f"{type(model).__name__} is no chain of layers: this rule gives each layer its own error")
        modules = list(model)
        for module in modules:
            if sum(p.dim() >= 2 for p in module.parameters()) > 1:
                raise ValueError(f"{type(module).__name__} holds several layers: this rule gives each its own error")
        starts = [i for i, module in enumerate(modules) if any(p.dim() >= 2 for p in module.parameters())]
        self.segments = [nn.Sequential(*modules[start:end]) for start, end in pairwise([0, *starts[1:], len(modules)])]

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Outputs of all segments; each one's graph ends at its own input."""
        outputs: list[Tensor] = []
        x = inputs
        for segment in self.segments:
            x = segment(x)
            outputs.append(x)
            x = x.detach()
        return outputs


def send_back(outputs: list[Tensor], errors: list[Tensor]) -> None:
    """Give each segment its own error: fills the ``grad`` of all parameters."""
    torch.autograd.backward(outputs, errors)
