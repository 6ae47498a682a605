"""Speed Limited Optimization: each layer moves a fixed distance per step, set by its own speed.

    W_l <- W_l - lr * C_l * g_l / (|g_l|_F + eps)

after Beaglehole, Mitliagkas & Agarwala (arXiv 2402.05271). Raising C_l against the other layers makes the change of
layer l dominate its initial weights, and so raises the uncentred alignment at that layer to the centred one.

    optimizer = SpeedLimited(model.named_parameters(), lr=0.2, speeds={"first": 1.0, "others": 0.01})
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from nfa.optim.speeds import resolve_speeds


class SpeedLimited(Optimizer):
    """Normalised gradient descent with one speed per layer.

    Each tensor is normalised by its own Frobenius norm; a bias or norm parameter takes the speed of its layer.

    Args:
        params: ``model.named_parameters()``: names are needed, because speeds belong to layers.
        lr: Length of the step of a layer of speed 1.
        speeds: Speed by ``first``, ``last``, index, layer name, or ``others``; see ``nfa.optim.speeds``. A layer is the
            owner of a weight of two or more dimensions; what belongs to no such layer takes ``others``.
        eps: Added to the gradient's norm.

    Raises:
        ValueError: lr, eps or a speed out of range, or a speed for a layer that is not there.
    """

    def __init__(
        self,
        params: Iterable[tuple[str, Tensor]],
        lr: float,
        speeds: Mapping[str, float] | None = None,
        eps: float = 1e-8,
    ) -> None:
        """Group the parameters by the speed of their layer."""
        if not lr >= 0:
            raise ValueError(f"lr: {lr} is not a step length; use 0 or more")
        if not eps > 0:
            raise ValueError(f"eps: {eps} must be more than 0")
        speeds = dict(speeds or {})
        for layer, speed in speeds.items():
            if not speed >= 0:
                raise ValueError(f"speeds: {layer}: {speed} is not a speed; use 0 or more")
        named = list(params)
        if any(not isinstance(item, tuple) for item in named):
            raise ValueError("params: speeds belong to layers, so names are needed; pass model.named_parameters()")
        layer_names = list(dict.fromkeys(name.rpartition(".")[0] for name, tensor in named if tensor.dim() >= 2))
        by_layer = resolve_speeds(speeds, layer_names)
        groups = [
            {"params": [(name, tensor)], "speed": by_layer.get(name.rpartition(".")[0], speeds.get("others", 1.0))}
            for name, tensor in named
        ]
        super().__init__(groups, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter by lr times its speed along its normalised gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    gradient = parameter.grad
                    length = group["lr"] * group["speed"]
                    parameter.sub_(gradient * (length / (torch.linalg.vector_norm(gradient) + group["eps"])))
        return loss
