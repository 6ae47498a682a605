"""Direct feedback alignment: each layer receives the output's error through its own fixed random matrix.

Nokland, arXiv 1609.01596. The error of the activations a_l (n, k) is dL/df (n, C) times B_l (C, k). The entries of B_l
are normal with variance 1 / C, so that errors of activations have the size of the output's error.
"""

import torch
from torch import Tensor, nn

from nfa.rules.chain import Chain, send_back
from nfa.rules.rule import Loss


class DirectFeedback:
    """Direct feedback alignment for a chain of layers."""

    def __init__(self, model: nn.Module, generator: torch.Generator, outputs: int) -> None:
        """Hold the network; the feedback matrices are drawn in the first pass, which shows the sizes of activations.

        Args:
            model: An ``nn.Sequential``.
            generator: Source of the feedback matrices.
            outputs: C, the number of outputs.
        """
        self._chain, self._generator, self._outputs = Chain(model), generator, outputs
        self.feedback: list[Tensor] = []

    def backward(self, inputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
        """See ``Rule``."""
        outputs = self._chain.forward(inputs)
        value = loss(outputs[-1], targets)
        if value.isfinite():
            (error,) = torch.autograd.grad(value, outputs[-1], retain_graph=True)
            self._draw(outputs)
            errors = [(error @ b).reshape(output.shape) for output, b in zip(outputs[:-1], self.feedback, strict=True)]
            send_back(outputs, [*errors, error])
        return value.detach()

    def _draw(self, outputs: list[Tensor]) -> None:
        if len(self.feedback) < len(outputs) - 1:
            for output in outputs[:-1]:
                b = torch.randn(self._outputs, output[0].numel(), generator=self._generator) / self._outputs**0.5
                self.feedback.append(b.to(output))
