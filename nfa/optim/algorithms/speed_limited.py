"""Speed Limited Optimization (SLO): each layer moves a fixed distance per step, given by its own speed.

    W_l <- W_l - lr * C_l * u_l / (|u_l|_F + eps),    u_l the gradient, momentum's direction or Adam's

after Beaglehole, Mitliagkas & Agarwala (arXiv 2402.05271), where u_l is the gradient. Raising C_l against the other
layers makes the change of layer l dominate its initial weights, and so raises the uncentred alignment at that layer to
the centred one. With Adam's direction (arXiv 1412.6980) the same is done for an adaptive optimizer.

``nfa/optim/slo.py`` has the settings that a sweep file may give.

    optimizer = SpeedLimited(model.named_parameters(), lr=0.2, speeds={"first": 1.0, "others": 0.01})
    optimizer.set_speeds({"last": 1.0, "others": 0.01})      # from the next step on
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, TypeAlias, get_args

from torch import Tensor

from nfa.optim.algorithms.base import ParameterwiseOptimizer
from nfa.optim.algorithms.moments import adam_direction, momentum_direction
from nfa.optim.algorithms.stacked import along, axes, norms
from nfa.optim.layer_speeds import owner_of, resolve_speeds, speeds_of_owners

SpeedsByKey: TypeAlias = Mapping[str, float] | Mapping[int, float] | Mapping[str | int, float]
Direction: TypeAlias = Literal["gradient", "momentum", "adam"]


class SpeedLimited(ParameterwiseOptimizer):
    """Optimizer with normalised steps and one speed per layer.

    Each tensor is normalised by its own Frobenius norm; a bias or a parameter of a
    normalisation takes the speed of its layer.

    Args:
        params: ``model.named_parameters()``: names are needed, because speeds belong to layers.
        lr: Length of the step of a layer whose speed is 1.
        speeds: Speed by ``first``, ``last``, index, layer name, pattern of names, or ``others``; see
            ``nfa.optim.layer_speeds``. A parameter that belongs to no layer takes ``others``.
        eps: Added to the norm.
        direction: The vector that is normalised: ``gradient``, ``momentum``, or ``adam`` for Adam's direction.
        betas: Decays of Adam's two means; the first is also the decay of the momentum.
        stacked: Axis 0 of every tensor counts independent networks, each with its own norms.
        layers: Names of the layers in forward order. By default a layer is the owner of a weight of two or more
            dimensions, in order of registration.

    Attributes:
        speeds: Layer name -> its speed now, in forward order.

    Raises:
        ValueError: lr, eps, a beta or a speed out of range, or a speed for a layer that is not there.
    """

    def __init__(
        self,
        params: Iterable[tuple[str, Tensor]],
        lr: float,
        speeds: SpeedsByKey | None = None,
        eps: float = 1e-8,
        *,
        direction: Direction = "gradient",
        betas: tuple[float, float] = (0.9, 0.999),
        stacked: bool = False,
        layers: Sequence[str] | None = None,
    ) -> None:
        """Group the parameters by the speed of their layer."""
        if not (_is_number(lr) and lr >= 0):
            raise ValueError(f"lr: {lr!r} is not a step length; use 0 or more")
        if not (_is_number(eps) and eps > 0):
            raise ValueError(f"eps: {eps!r} must be more than 0")
        if direction not in get_args(Direction):
            raise ValueError(f"direction: {direction!r} is not a direction; use 'gradient', 'momentum' or 'adam'")
        if not (isinstance(betas, tuple | list) and len(betas) == 2 and all(map(_is_number, betas))):
            raise ValueError(f"betas: {betas!r} must be two numbers, e.g. (0.9, 0.999)")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas: {betas} must be 0 or more and less than 1")
        named = list(params)
        if any(not isinstance(item, tuple) for item in named):
            raise ValueError("params: speeds belong to layers, so names are needed; pass model.named_parameters()")
        if layers is None:
            owners = (name.rpartition(".")[0] for name, tensor in named if axes(tensor, stacked) >= 2)
            layers = list(dict.fromkeys(owners))
        self._layers = tuple(layers)
        defaults = {"lr": lr, "eps": eps, "direction": direction, "betas": betas, "stacked": stacked}
        super().__init__([{"params": [item]} for item in named], defaults)
        self.set_speeds({} if speeds is None else speeds)

    def set_speeds(self, speeds: SpeedsByKey) -> None:
        """Set the speed of every layer from the next step on.

        Args:
            speeds: As for the constructor.

        Raises:
            ValueError: A speed out of range, or for a layer that is not there.
        """
        if not isinstance(speeds, Mapping):
            raise ValueError(f"speeds: {speeds!r} must be given by layer, e.g. {{'first': 1.0, 'others': 0.1}}")
        for layer, speed in speeds.items():
            if not (_is_number(speed) and speed >= 0):
                raise ValueError(f"speeds: {layer}: {speed!r} is not a speed; use 0 or more")
        named = {str(layer): speed for layer, speed in speeds.items()}  # an index may be given as the number it is
        if len(named) < len(speeds):
            raise ValueError(f"speeds: {', '.join(map(repr, speeds))}: a layer is given twice; give each once")
        self.speeds = resolve_speeds(named, self._layers)
        by_layer = speeds_of_owners(self.speeds)
        for group in self.param_groups:
            owner = _owner(group["param_names"][0], by_layer)
            group["speed"] = named.get("others", 1.0) if owner is None else by_layer[owner]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a saved state, including the speeds."""
        super().load_state_dict(state_dict)
        owners = {owner_of(layer) for layer in self._layers}
        saved = {_owner(group["param_names"][0], owners): group["speed"] for group in self.param_groups}
        self.speeds = {layer: saved.get(owner_of(layer), speed) for layer, speed in self.speeds.items()}

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Move a parameter by lr times its layer's speed along its normalised direction."""
        direction = gradient
        if group["direction"] == "adam":
            direction = adam_direction(self.state[parameter], gradient, group["betas"])
        elif group["direction"] == "momentum":
            direction = momentum_direction(self.state[parameter], gradient, group["betas"][0])
        length = group["lr"] * group["speed"]
        factor = length / (norms(direction, group["stacked"]) + group["eps"])
        parameter.sub_(direction * along(factor, direction))


def _is_number(value: object) -> bool:
    """Return True for a finite number that is not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _owner(name: str, owners: Collection[str]) -> str | None:
    """Return the owner whose speed a parameter takes: itself, its module, or for a bias the weight named alike."""
    module, dot, last = name.rpartition(".")
    candidates = (name, module, module + dot + last.replace("bias", "weight"))
    return next((owner for owner in candidates if owner in owners), None)
