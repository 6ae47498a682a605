"""Activations and random initial weights, shared by the model families."""

import torch
from torch import Tensor, nn

from nfa.models.common import DEFAULT_STD


class Erf(nn.Module):
    """The error function of every entry: a sigmoid whose Gaussian averages have closed forms."""

    def forward(self, values: Tensor) -> Tensor:
        """Apply the function to every entry."""
        return torch.erf(values)


class Quadratic(nn.Module):
    """The square of every entry."""

    def forward(self, values: Tensor) -> Tensor:
        """Apply the function to every entry."""
        return values.square()


_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "erf": Erf,
    "quadratic": Quadratic,
    "linear": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """Make an activation module by its name in the sweep file."""
    return _ACTIVATIONS[name]()


@torch.no_grad()
def draw_weights(
    model: nn.Module, scheme: str, scale: float, generator: torch.Generator, std: float = DEFAULT_STD
) -> None:
    """Draw all weights of a network, in registration order; biases are drawn for ``pytorch`` and zero otherwise.

    Args:
        model: Network of linear and convolutional layers; changed in place.
        scheme: Name of a scheme, see ``nfa.models.common.Drawn``.
        scale: Factor on every weight.
        generator: Source of all draws.
        std: Standard deviation of the scheme ``normal``.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            _draw(module.weight, scheme, scale, std, generator)
            if module.bias is not None and scheme == "pytorch":
                bound = module.weight[0].numel() ** -0.5
                module.bias.uniform_(-bound, bound, generator=generator)
            elif module.bias is not None:
                module.bias.zero_()


def _draw(weight: Tensor, scheme: str, scale: float, std: float, generator: torch.Generator) -> None:
    """Draw one weight, (k, d) or (k, c_in, kernel height, kernel width)."""
    fan_in, fan_out = weight[0].numel(), len(weight) * weight[0, 0].numel()
    if scheme == "pytorch":  # variance 1 / (3 fan-in)
        bound = fan_in**-0.5
        weight.uniform_(-scale * bound, scale * bound, generator=generator)
    elif scheme == "orthogonal":
        weight.copy_(scale * orthonormal(len(weight), fan_in, generator).view_as(weight))
    else:
        variances = {
            "he": 2.0 / fan_in,
            "lecun": 1.0 / fan_in,
            "xavier": 2.0 / (fan_in + fan_out),
            "normal": std**2,
            "vgg": 2.0 / fan_out if weight.dim() == 4 else 0.01**2,
        }
        weight.normal_(0.0, scale * variances[scheme] ** 0.5, generator=generator)


def orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Draw a uniformly random (Haar) matrix with orthonormal rows, or columns if there are fewer columns; float64."""
    normal = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=torch.float64)
    basis, triangle = torch.linalg.qr(normal)
    basis = basis * triangle.diagonal().sign()  # without these signs the draw would not be uniform
    result: Tensor = basis if rows >= columns else basis.mT
    return result
