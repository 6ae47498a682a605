"""Small residual network: 3 x 3 convolution, residual blocks in three stages, mean over pixels, readout.

It follows the networks for small images of He et al. (arXiv 1512.03385, section 4.2): each stage after the first halves
the image and doubles the channels; with 3 blocks it is ResNet-8, with 9 blocks ResNet-20. Shortcuts are 1 x 1
convolutions if the shape changes. Without normalisation each branch is divided by the root of the number of blocks,
which keeps signals finite at any depth (Hayou et al., arXiv 2010.12859).

``group`` normalises each sample by itself over all channels, so that training and measuring use the same function.
``batch`` trains with the statistics of the batch and is measured with their running averages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nfa.data.shape import DataShape
from nfa.entries import setting
from nfa.models.common import ActivationName, Drawn
from nfa.models.entry import LayerShape, ModelEntry

if TYPE_CHECKING:
    import torch

STAGES = 3


class ResNet(Drawn):
    """Settings of ``resnet``."""

    name: Literal["resnet"] = "resnet"
    depth: int = setting(3, "number of residual blocks, of two convolutions each", ge=1, le=1000)
    width: int = setting(16, "channels of the first stage; each further stage doubles them", ge=1, le=10_000)
    norm: Literal["group", "batch", "none"] = setting(
        "group", "after each convolution: group (each sample by itself), batch, or none"
    )
    activation: ActivationName = setting("relu", "activation")
    bias: bool = setting(False, "whether layers have a bias")

    tags = {
        "depth": "d",
        "width": "w",
        "norm": "",
        "activation": "",
        "init": "",
        "init_scale": "s",
        "init_std": "std",
    }
    quiet_tags = frozenset({"norm", "activation", "init", "init_scale", "init_std"})


def _blocks(settings: ResNet) -> list[tuple[int, int, int]]:
    """List the blocks: channels in, channels out, stride."""
    blocks, channels, before = [], settings.width, 0
    for index in range(settings.depth):
        stage = index * min(STAGES, settings.depth) // settings.depth
        width = settings.width * 2**stage
        blocks.append((channels, width, 1 if stage == before else 2))
        channels, before = width, stage
    return blocks


def layers(settings: ResNet, data: DataShape) -> tuple[LayerShape, ...]:
    """List the weight matrices in forward order; a block's shortcut, where it has one, comes first."""
    channels, height, width = data.input_shape
    shapes = [LayerShape("stem", settings.width, channels * 9, height * width)]
    for index, (fan_in, fan_out, stride) in enumerate(_blocks(settings)):
        height, width = -(-height // stride), -(-width // stride)
        if stride > 1:
            shapes.append(LayerShape(f"blocks.{index}.shortcut", fan_out, fan_in, height * width))
        shapes.append(LayerShape(f"blocks.{index}.conv1", fan_out, fan_in * 9, height * width))
        shapes.append(LayerShape(f"blocks.{index}.conv2", fan_out, fan_out * 9, height * width))
        channels = fan_out
    return (*shapes, LayerShape("readout", data.outputs, channels, readout=True))


def build(settings: ResNet, data: DataShape, generator: torch.Generator) -> torch.nn.Module:
    """Build the network and draw its weights."""
    from collections import OrderedDict

    from torch import nn

    from nfa.models.blocks import ResidualBlock, normalisation
    from nfa.models.initialise import activation, draw_weights

    scale = settings.depth**-0.5 if settings.norm == "none" else 1.0
    plan = _blocks(settings)
    blocks = [
        ResidualBlock(fan_in, fan_out, stride, settings.activation, settings.norm, bias=settings.bias, scale=scale)
        for fan_in, fan_out, stride in plan
    ]
    modules: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(data.input_shape[0], settings.width, 3, padding=1, bias=settings.bias),
        norm=normalisation(settings.norm, settings.width),
        activation=activation(settings.activation),
        blocks=nn.Sequential(*blocks),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        readout=nn.Linear(plan[-1][1], data.outputs, bias=settings.bias),
    )
    model = nn.Sequential(modules)
    draw_weights(model, settings.init, settings.init_scale, generator, settings.init_std)
    return model


ENTRY = ModelEntry(
    ResNet,
    layers,
    build,
    reads=frozenset({"images"}),
    about="small residual network in three stages, with or without normalisation",
)
