"""Direct feedback alignment: every layer gets the output's error through a fixed random matrix of its own.

Nokland (arXiv 1609.01596). The error of the activations a_l (n, k) is (n, C) dL/df times B_l (C, k), whose entries are
normal of variance 1 / C: of the size of the error itself.
"""

import torch
from torch import Tensor, nn

from nfa.rules.chain import Chain, send_back
from nfa.rules.rule import Loss


class DirectFeedback:
    """Direct feedback alignment for a chain of layers."""

    def __init__(self, model: nn.Module, generator: torch.Generator, outputs: int) -> None:
        """Fix the feedback; it is drawn when the sizes of the activations are first seen.

        Args:
            model: An ``nn.Sequential``.
            generator: Source of the feedback.
            outputs: C.
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
