"""Descent along the sign of a mean of gradients: Lion, and with two equal betas signSGD and Signum.

    u = sign(beta1 m + (1 - beta1) g),    W <- W - lr (u + lambda W),    m <- beta2 m + (1 - beta2) g

after Chen et al. (Lion, arXiv 2302.06675) and Bernstein et al. (signSGD, Signum, arXiv 1802.04434). The step is taken
entry by entry, so that networks stacked along axis 0 need no special treatment.
"""

from collections.abc import Iterable
from math import inf
from typing import Any

import torch
from torch import Tensor

from nfa.optim.algorithms.base import ParameterwiseOptimizer


class SignDescent(ParameterwiseOptimizer):
    """Optimizer that moves every weight by lr, against the sign of a mean of gradients.

    Args:
        params: Parameters, or groups of them.
        lr: Distance that each weight moves in a step.
        betas: Share of the momentum in the mean whose sign is taken, and decay of the momentum. (0, 0) is signSGD.
        weight_decay: lambda of the decoupled weight decay.

    Raises:
        ValueError: A setting out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        """Check the settings and store them."""
        if not 0 <= lr < inf:
            raise ValueError(f"lr: {lr} is not a step length; use 0 or more")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas: {betas} must be 0 or more and less than 1")
        if not 0 <= weight_decay < inf:
            raise ValueError(f"weight_decay: {weight_decay} must be 0 or more and finite")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Move every entry of a parameter by lr, against the sign of the mean of its gradients."""
        beta1, beta2 = group["betas"]
        direction = gradient
        if beta1 or beta2:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            momentum = state["momentum_buffer"]
            direction = momentum.lerp(gradient, 1 - beta1)
            momentum.lerp_(gradient, 1 - beta2)
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction.sign(), alpha=group["lr"])
