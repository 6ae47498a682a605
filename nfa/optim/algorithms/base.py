"""The loop over parameters that all optimizers of this package share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class ParameterwiseOptimizer(Optimizer):
    """An optimizer that updates one parameter after the other; a subclass defines ``update``."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step: update every parameter that has a gradient.

        Args:
            closure: Evaluates the loss and its gradients again before the step.

        Returns:
            The loss that the closure returned; None without a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, parameter.grad, group)
        return loss

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Change one parameter in place.

        Args:
            parameter: The parameter.
            gradient: Its gradient, which must be left as it is.
            group: Options of the parameter's group.
        """
        raise NotImplementedError
