"""The networks that are measured: bias-free ReLU MLPs, untrained, on Gaussian samples."""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """One network and its samples.

    Attributes:
        d: Inputs.
        width: Units of each hidden layer.
        depth: Hidden layers.
        outputs: C.
        n: Samples.
    """

    d: int
    width: int
    depth: int
    outputs: int
    n: int = 1000

    def __str__(self) -> str:
        return f"{self.d}, {self.depth} x {self.width}, {self.outputs}"

    def of(self, *, n: int | None = None, outputs: int | None = None) -> "Case":
        """The same with other samples or outputs."""
        return replace(self, n=n or self.n, outputs=outputs or self.outputs)

    def build(self) -> tuple[nn.Sequential, Tensor]:
        """Build the network, with PyTorch's default initialisation, and its samples (n, d)."""
        torch.manual_seed(0)
        sizes = [self.d] + [self.width] * self.depth
        hidden = [module for a, b in pairwise(sizes) for module in (nn.Linear(a, b, bias=False), nn.ReLU())]
        model = nn.Sequential(*hidden, nn.Linear(self.width, self.outputs, bias=False))
        return model, torch.randn(self.n, self.d)


NARROW = Case(3072, 256, 5, 10)
WIDE = Case(3072, 1024, 5, 10)
MANY_OUTPUTS = Case(784, 256, 3, 100)
CASES = {"narrow": NARROW, "wide": WIDE, "many_outputs": MANY_OUTPUTS}
TINY = Case(8, 4, 1, 2, n=16)  # loads what is loaded on first use
