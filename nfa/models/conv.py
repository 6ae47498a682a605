"""Plain convolutional network: 3 x 3 convolutions, each of which halves the image, and a linear readout."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from nfa.data.shape import DataShape
from nfa.entries import setting
from nfa.models.common import ActivationName, Drawn
from nfa.models.entry import LayerShape, ModelEntry

if TYPE_CHECKING:
    import torch

KERNEL = 3


class Conv(Drawn):
    """Settings of ``conv``."""

    name: Literal["conv"] = "conv"
    depth: int = setting(3, "number of convolutional layers (depth + 1 weight matrices)", ge=1, le=1000)
    width: int = setting(16, "channels of each convolutional layer", ge=1, le=100_000)
    activation: ActivationName = setting("relu", "activation after each convolution")
    bias: bool = setting(False, "whether layers have a bias")

    tags = {"depth": "d", "width": "w", "activation": "", "init": "", "init_scale": "s"}
    quiet_tags = frozenset({"activation", "init", "init_scale"})


def layers(settings: Conv, data: DataShape) -> tuple[LayerShape, ...]:
    """List the weight matrices in forward order; each convolution (stride 2, padding 1) halves height and width."""
    channels, height, width = data.input_shape
    shapes = []
    for index in range(settings.depth):
        height, width = -(-height // 2), -(-width // 2)
        shapes.append(LayerShape(f"conv{index}", settings.width, channels * KERNEL * KERNEL, height * width))
        channels = settings.width
    return (*shapes, LayerShape("readout", data.outputs, channels * height * width, readout=True))


def build(settings: Conv, data: DataShape, generator: torch.Generator) -> torch.nn.Module:
    """Build the network and draw its weights."""
    from torch import nn

    from nfa.models.initialise import activation, draw_weights

    modules: OrderedDict[str, nn.Module] = OrderedDict()
    *convolutions, readout = layers(settings, data)
    channels = data.input_shape[0]
    for index, layer in enumerate(convolutions):
        modules[layer.name] = nn.Conv2d(channels, layer.fan_out, KERNEL, stride=2, padding=1, bias=settings.bias)
        modules[f"activation{index}"] = activation(settings.activation)
        channels = layer.fan_out
    modules["flatten"] = nn.Flatten()
    modules[readout.name] = nn.Linear(readout.fan_in, readout.fan_out, bias=settings.bias)
    model = nn.Sequential(modules)
    draw_weights(model, settings.init, settings.init_scale, generator, settings.init_std)
    return model


ENTRY = ModelEntry(
    Conv,
    layers,
    build,
    reads=frozenset({"images"}),
    about="3 x 3 convolutions of stride 2, a readout of all pixels",
    chain=True,
)
