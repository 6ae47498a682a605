"""Descent along a sign: Lion, and with one beta for both signSGD and Signum.

    u = sign(beta1 m + (1 - beta1) g),    W <- W - lr (u + lambda W),    m <- beta2 m + (1 - beta2) g

after Chen et al. (Lion, arXiv 2302.06675) and Bernstein et al. (signSGD, Signum, arXiv 1802.04434). Entry by entry, so
stacked networks need nothing.
"""

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class SignDescent(Optimizer):
    """Every weight moves by lr, along the sign of a mean of gradients.

    Args:
        params: Parameters, or groups of them.
        lr: How far each weight moves in a step.
        betas: Share of the momentum in what the sign is taken of, and decay of the momentum. (0, 0) is signSGD.
        weight_decay: Decoupled lambda.

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
        """Keep the settings."""
        if not 0 <= lr < inf:
            raise ValueError(f"lr: {lr} is not a step length; use 0 or more")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas: {betas} must be 0 or more and less than 1")
        if not 0 <= weight_decay < inf:
            raise ValueError(f"weight_decay: {weight_decay} must be 0 or more and finite")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad
                if beta1 or beta2:
                    state = self.state[parameter]
                    if "momentum_buffer" not in state:
                        state["momentum_buffer"] = torch.zeros_like(parameter)
                    momentum = state["momentum_buffer"]
                    update = momentum.lerp(parameter.grad, 1 - beta1)
                    momentum.lerp_(parameter.grad, 1 - beta2)
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update.sign(), alpha=group["lr"])
        return loss
