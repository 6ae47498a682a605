"""VGG-11 without batch normalisation: eight 3 x 3 convolutions with ReLU, max-pooling, linear readout.

This is configuration A of Simonyan & Zisserman (arXiv 1409.1556) as it is used on small images: one readout replaces
the three dense layers. Channels double with each of the first three halvings of the image. An image with a side
of one pixel is not pooled further.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from nfa.data.shape import DataShape
from nfa.entries import setting
from nfa.models.common import INIT, ActivationName, Drawn, Initialisation
from nfa.models.entry import LayerShape, ModelEntry

if TYPE_CHECKING:
    import torch

KERNEL = 3
CHANNELS = (1, 2, 4, 4, 8, 8, 8, 8)  # times the width; further convolutions repeat the last
POOLED = frozenset({0, 1, 3, 5})  # convolutions that a max-pooling follows, beside the last one


class VGG11(Drawn):
    """Settings of ``vgg11``."""

    name: Literal["vgg11"] = "vgg11"
    depth: int = setting(
        8,
        "number of convolutions (depth + 1 weight matrices): 8; fewer keep the first, more are added at the end",
        ge=1,
        le=100,
    )
    width: int = setting(64, "channels of the first convolution; the last have 8 times as many", ge=1, le=10_000)
    activation: ActivationName = setting("relu", "activation after each convolution")
    bias: bool = setting(True, "whether layers have a bias")
    init: Initialisation = setting("pytorch", INIT)

    tags = {"depth": "d", "width": "w", "activation": "", "init": "", "init_scale": "s", "init_std": "std"}
    quiet_tags = frozenset(tags)


def _steps(settings: VGG11, data: DataShape) -> list[tuple[int, int, bool]]:
    """List (channels, positions, whether a max-pooling follows) of each convolution, and last the readout's pixels."""
    _, height, width = data.input_shape
    steps = []
    for index in range(settings.depth):
        pooled = (index in POOLED or index == settings.depth - 1) and min(height, width) >= 2
        steps.append((settings.width * CHANNELS[min(index, len(CHANNELS) - 1)], height * width, pooled))
        if pooled:
            height, width = height // 2, width // 2
    return [*steps, (0, height * width, False)]


def layers(settings: VGG11, data: DataShape) -> tuple[LayerShape, ...]:
    """List the weight matrices in forward order."""
    *convolutions, (_, pixels, _) = _steps(settings, data)
    shapes, channels = [], data.input_shape[0]
    for index, (width, positions, _) in enumerate(convolutions):
        shapes.append(LayerShape(f"conv{index}", width, channels * KERNEL * KERNEL, positions))
        channels = width
    return (*shapes, LayerShape("readout", data.outputs, channels * pixels, readout=True))


def build(settings: VGG11, data: DataShape, generator: torch.Generator) -> torch.nn.Module:
    """Build the network and draw its weights."""
    from torch import nn

    from nfa.models.initialise import activation, draw_weights

    modules: OrderedDict[str, nn.Module] = OrderedDict()
    channels = data.input_shape[0]
    for index, (width, _, pooled) in enumerate(_steps(settings, data)[:-1]):
        modules[f"conv{index}"] = nn.Conv2d(channels, width, KERNEL, padding=1, bias=settings.bias)
        modules[f"activation{index}"] = activation(settings.activation)
        if pooled:
            modules[f"pool{index}"] = nn.MaxPool2d(2)
        channels = width
    readout = layers(settings, data)[-1]
    modules["flatten"] = nn.Flatten()
    modules["readout"] = nn.Linear(readout.fan_in, readout.fan_out, bias=settings.bias)
    model = nn.Sequential(modules)
    draw_weights(model, settings.init, settings.init_scale, generator, settings.init_std)
    return model


ENTRY = ModelEntry(
    VGG11,
    layers,
    build,
    reads=frozenset({"images"}),
    about="VGG-11 without batch normalisation: 8 convolutions, max-pooling, one readout",
    chain=True,
)
