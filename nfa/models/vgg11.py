"""VGG-11 without batch normalisation: eight 3 x 3 convolutions with ReLU, max-pooling, and a classifier.

This is configuration A of Simonyan & Zisserman (arXiv 1409.1556) for small images. Channels double with each of the
first three halvings of the image. An image with a side of one pixel is not pooled further.

The classifier is either one linear readout of all pixels, or the published one: an average over the remaining pixels,
then two hidden linear layers, each with an activation and dropout of one half, and the readout. Dropout is active
in training only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from nfa.data.shape import DataShape
from nfa.entries import setting
from nfa.models.common import INIT, ActivationName, Drawn, Initialisation
from nfa.models.entry import LayerShape, ModelEntry

if TYPE_CHECKING:
    import torch

KERNEL = 3
CHANNELS = (1, 2, 4, 4, 8, 8, 8, 8)  # times the width; further convolutions repeat the last
HIDDEN = 64  # units of each hidden layer of the published classifier, times the width
POOLED = frozenset({0, 1, 3, 5})  # convolutions that a max-pooling follows, beside the last one


class VGG11(Drawn):
    """Settings of ``vgg11``."""

    name: Literal["vgg11"] = "vgg11"
    depth: int = setting(
        8,
        "number of convolutions (depth + 1 weight matrices, depth + 3 with classifier: published): 8; fewer keep the "
        "first, more are added at the end",
        ge=1,
        le=100,
    )
    width: int = setting(64, "channels of the first convolution; the last have 8 times as many", ge=1, le=10_000)
    activation: ActivationName = setting("relu", "activation after each convolution")
    bias: bool = setting(True, "whether layers have a bias")
    init: Initialisation = setting("pytorch", INIT + "; default with classifier: published: vgg")
    classifier: Literal["readout", "published"] = setting(
        "readout",
        "readout: one linear layer; published: average over pixels, two hidden layers of 64 times the width with "
        "dropout, and the readout",
    )

    tags = {
        "depth": "d",
        "width": "w",
        "activation": "",
        "init": "",
        "init_scale": "s",
        "init_std": "std",
        "classifier": "",
    }
    quiet_tags = frozenset(tags)

    @model_validator(mode="before")
    @classmethod
    def _published_weights(cls, content: Any) -> Any:
        """Draw the weights of the published network as published, if nothing else is said."""
        if isinstance(content, Mapping) and content.get("classifier") == "published":
            return {"init": "vgg", **content}
        return content


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
    if settings.classifier == "readout":
        return (*shapes, LayerShape("readout", data.outputs, channels * pixels, readout=True))
    units = HIDDEN * settings.width
    hidden = (LayerShape("hidden0", units, channels), LayerShape("hidden1", units, units))
    return (*shapes, *hidden, LayerShape("readout", data.outputs, units, readout=True))


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
    if settings.classifier == "published":
        modules["average"] = nn.AdaptiveAvgPool2d(1)
    modules["flatten"] = nn.Flatten()
    *hidden, readout = layers(settings, data)[settings.depth :]
    for index, layer in enumerate(hidden):
        modules[layer.name] = nn.Linear(layer.fan_in, layer.fan_out, bias=settings.bias)
        modules[f"activation_{layer.name}"] = activation(settings.activation)
        modules[f"dropout{index}"] = nn.Dropout()
    modules["readout"] = nn.Linear(readout.fan_in, readout.fan_out, bias=settings.bias)
    model = nn.Sequential(modules)
    draw_weights(model, settings.init, settings.init_scale, generator, settings.init_std)
    return model


ENTRY = ModelEntry(
    VGG11,
    layers,
    build,
    reads=frozenset({"images"}),
    about="VGG-11 without batch normalisation: 8 convolutions, max-pooling, one readout or the published classifier",
    chain=True,
    draws=True,  # dropout of the published classifier
)
