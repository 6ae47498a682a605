"""Which weights of a network are measured, how each is read as a matrix, and why the others are left out."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfa.errors import nearest


@dataclass(frozen=True)
class Layer:
    """A module that computes h = W x (+ b), once per position.

    Attributes:
        name: Qualified module name.
        module: The module itself.
        fan_out_axis: Axis of the module's output that holds the k pre-activations, from the end.
    """

    name: str
    module: nn.Module
    fan_out_axis: int

    @property
    def parameter_name(self) -> str:
        """Name of W among the network's parameters."""
        return parameter_name(self.name)

    def matrix(self) -> Tensor:
        """W as a (k, d) float64 copy on the CPU; a convolution's d is c_in * kh * kw."""
        return as_matrix(self.module.get_parameter("weight"))

    def tangent_rows(self, gradient: Tensor) -> Tensor:
        """Turn a gradient in the shape of the module's output into one row per sample and position, (n * p, k)."""
        return gradient.movedim(self.fan_out_axis, -1).flatten(0, -2)


def parameter_name(layer: str) -> str:
    """Name of a layer's weight among the parameters; a network that is itself one layer has an empty module name."""
    return f"{layer}.weight" if layer else "weight"


def as_matrix(weight: Tensor) -> Tensor:
    """Copy a weight (k, ...) to a (k, d) float64 matrix on the CPU."""
    return weight.detach().to("cpu", torch.float64, copy=True).flatten(1)


def measurable_layers(model: nn.Module) -> dict[str, Layer]:
    """Find the layers that are measured, in order of registration."""
    return {
        name: Layer(name, module, -1 if isinstance(module, nn.Linear) else -3)
        for name, module in model.named_modules()
        if _reason_left_out(module, "weight") is None
    }


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copy the weights of all measurable layers.

    Returns:
        Layer name -> (k, d) float64 on the CPU, in order of registration.
    """
    return {name: layer.matrix() for name, layer in measurable_layers(model).items()}


def left_out(model: nn.Module) -> dict[str, str]:
    """Say which weights of two or more dimensions are not measured.

    Returns:
        Qualified name of the module that owns the weight -> why it is left out, in plain words.
    """
    reasons: dict[str, str] = {}
    for name, module in model.named_modules():
        for parameter, value in module.named_parameters(recurse=False):
            reason = _reason_left_out(module, parameter)
            if reason is not None and (nn.parameter.is_lazy(value) or value.dim() >= 2):
                reasons.setdefault(name, reason)
    return reasons


def choose_layers(model: nn.Module, names: list[str] | None) -> dict[str, Layer]:
    """Pick the layers asked for.

    Args:
        model: The network.
        names: Layer names, or None for every measurable layer.

    Raises:
        ValueError: No measurable layer, an unknown name, or a weight that is not finite.
    """
    layers = measurable_layers(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no layer to measure: no Linear and no ungrouped Conv2d")
    if names is not None:
        for name in names:
            if name not in layers:
                why = left_out(model).get(name)
                raise ValueError(f"layer {name!r} is not measured: {why or nearest(name, layers)}")
        layers = {name: layer for name, layer in layers.items() if name in names}
        if not layers:
            raise ValueError("layers: the list is empty; name at least one layer, or pass None for all")
    for name, value in model.named_parameters():
        if not nn.parameter.is_lazy(value) and not torch.isfinite(value).all():
            raise ValueError(f"parameter {name!r} holds NaN or infinity: nothing can be measured")
    return layers


def _reason_left_out(module: nn.Module, parameter: str) -> str | None:
    """Say why a module's own parameter is not measured; None when it is the W of a measured layer."""
    own = dict(module.named_parameters(recurse=False))
    if parameter in own and nn.parameter.is_lazy(own[parameter]):
        return "not initialised: run the network once on a batch first"
    if isinstance(module, nn.Linear | nn.Conv2d):
        if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
            return "output projection of an attention module, which uses its weight without calling it"
        if "weight" not in own:
            return "its weight is computed from other parameters"
        if isinstance(module, nn.Conv2d) and module.groups != 1:
            return "grouped convolution: one weight matrix per group"
        return None if parameter == "weight" else f"a parameter named {parameter!r}, not the weight of the layer"
    return _REASONS.get(type(module), f"a weight of {type(module).__name__}: only Linear and Conv2d are measured")


_REASONS: dict[type[nn.Module], str] = {
    nn.Embedding: "embedding: its weight is indexed, not multiplied",
    nn.EmbeddingBag: "embedding: its weight is indexed, not multiplied",
    nn.ConvTranspose1d: "transposed convolution: its weight is applied transposed",
    nn.ConvTranspose2d: "transposed convolution: its weight is applied transposed",
    nn.ConvTranspose3d: "transposed convolution: its weight is applied transposed",
    nn.Bilinear: "bilinear: its weight multiplies two inputs",
    nn.MultiheadAttention: "attention: query, key and value share one weight that is used without calling a module",
}
