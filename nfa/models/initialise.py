"""How weights are drawn, and the activations: what the model families share."""

from typing import Literal

import torch
from torch import nn

Initialisation = Literal["he", "pytorch"]
ActivationName = Literal["relu", "gelu", "tanh", "linear"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "linear": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """Make an activation module by its name in the sweep file."""
    return _ACTIVATIONS[name]()


@torch.no_grad()
def draw_weights(model: nn.Module, scheme: str, scale: float, generator: torch.Generator) -> None:
    """Draw all weights of a network, in registration order, from one generator; biases of the ``he`` scheme are zero.

    Args:
        model: Network of linear and convolutional layers; changed in place.
        scheme: ``he``: normal of variance 2 / fan-in. ``pytorch``: uniform of variance 1 / (3 fan-in), its default.
        scale: Factor on every weight.
        generator: Source of all draws.
    """
    for module in model.modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        fan_in = module.weight[0].numel()
        if scheme == "he":
            module.weight.normal_(0.0, scale * (2.0 / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        else:
            bound = fan_in**-0.5
            module.weight.uniform_(-scale * bound, scale * bound, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
