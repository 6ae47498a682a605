"""Speed Limited Optimization: each layer moves a fixed distance per step, set by its own speed.

    W_l <- W_l - lr * C_l * u_l / (|u_l|_F + eps),    u_l the gradient, or Adam's direction

after Beaglehole, Mitliagkas & Agarwala (arXiv 2402.05271), where u_l is the gradient. Raising C_l against the other
layers makes the change of layer l dominate its initial weights, and so raises the uncentred alignment at that layer to
the centred one. With Adam's direction (arXiv 1412.6980) the same is asked of an adaptive optimizer.

    optimizer = SpeedLimited(model.named_parameters(), lr=0.2, speeds={"first": 1.0, "others": 0.01})
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from nfa.optim.moments import adam_direction
from nfa.optim.speeds import resolve_speeds, speeds_of_owners
from nfa.optim.stacking import along, axes, norms


class SpeedLimited(Optimizer):
    """Normalised gradient descent with one speed per layer.

    Each tensor is normalised by its own Frobenius norm; a bias or norm parameter takes the speed of its layer.

    Args:
        params: ``model.named_parameters()``: names are needed, because speeds belong to layers.
        lr: Length of the step of a layer of speed 1.
        speeds: Speed by ``first``, ``last``, index, layer name, pattern of names, or ``others``; see
            ``nfa.optim.speeds``. What belongs to no layer takes ``others``.
        eps: Added to the norm.
        direction: What is normalised: ``gradient``, or ``adam``: Adam's direction.
        betas: Adam's, for its direction.
        stacked: Axis 0 of every tensor counts independent networks, each with its own norms.
        layers: Names of the layers in forward order. By default a layer is the owner of a weight of two or more
            dimensions, in order of registration.

    Raises:
        ValueError: lr, eps, a beta or a speed out of range, or a speed for a layer that is not there.
    """

    def __init__(
        self,
        params: Iterable[tuple[str, Tensor]],
        lr: float,
        speeds: Mapping[str, float] | None = None,
        eps: float = 1e-8,
        *,
        direction: Literal["gradient", "adam"] = "gradient",
        betas: tuple[float, float] = (0.9, 0.999),
        stacked: bool = False,
        layers: Sequence[str] | None = None,
    ) -> None:
        """Group the parameters by the speed of their layer."""
        if not lr >= 0:
            raise ValueError(f"lr: {lr} is not a step length; use 0 or more")
        if not eps > 0:
            raise ValueError(f"eps: {eps} must be more than 0")
        if direction not in ("gradient", "adam"):
            raise ValueError(f"direction: {direction!r} is not one; use 'gradient' or 'adam'")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas: {betas} must be 0 or more and less than 1")
        speeds = dict(speeds or {})
        for layer, speed in speeds.items():
            if not speed >= 0:
                raise ValueError(f"speeds: {layer}: {speed} is not a speed; use 0 or more")
        named = list(params)
        if any(not isinstance(item, tuple) for item in named):
            raise ValueError("params: speeds belong to layers, so names are needed; pass model.named_parameters()")
        if layers is None:
            owners = (name.rpartition(".")[0] for name, tensor in named if axes(tensor, stacked) >= 2)
            layers = list(dict.fromkeys(owners))
        by_layer = speeds_of_owners(resolve_speeds(speeds, layers))
        groups = [
            {"params": [(name, tensor)], "speed": _speed(name, by_layer, speeds.get("others", 1.0))}
            for name, tensor in named
        ]
        defaults = {"lr": lr, "eps": eps, "direction": direction, "betas": betas, "stacked": stacked}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter by lr times its speed along its normalised gradient, or Adam's direction."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad
                if group["direction"] == "adam":
                    update = adam_direction(self.state[parameter], update, group["betas"])
                length = group["lr"] * group["speed"]
                factor = length / (norms(update, group["stacked"]) + group["eps"])
                parameter.sub_(update * along(factor, update))
        return loss


def _speed(name: str, by_layer: Mapping[str, float], others: float) -> float:
    """Speed of a parameter: that of its own name, of its module, or, for a bias, of the weight called alike."""
    module, dot, last = name.rpartition(".")
    for owner in (name, module, module + dot + last.replace("bias", "weight")):
        if owner in by_layer:
            return by_layer[owner]
    return others
