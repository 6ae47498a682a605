"""Small transformer encoder of image patches or tokens: pre-norm blocks, mean over positions, readout.

Blocks follow Xiong et al. (arXiv 2002.04745), patches Dosovitskiy et al. (arXiv 2010.11929), fixed positions Vaswani et
al. (arXiv 1706.03762). Tokens enter as one-hot vectors, so that the embedding is a matrix which is measured like every
other. Query, key, value and output are separate matrices. There is no dropout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from nfa.data.shape import DataShape
from nfa.entries import setting
from nfa.models.common import INIT, ActivationName, Drawn, Initialisation
from nfa.models.entry import LayerShape, ModelEntry

if TYPE_CHECKING:
    import torch


class Transformer(Drawn):
    """Settings of ``transformer``."""

    name: Literal["transformer"] = "transformer"
    depth: int = setting(2, "number of blocks, each of attention and an MLP of two layers", ge=1, le=1000)
    width: int = setting(64, "numbers at each position", ge=1, le=100_000)
    heads: int = setting(4, "attention heads; must divide the width", ge=1, le=1000)
    expansion: int = setting(4, "hidden width of a block's MLP, as a multiple of the width", ge=1, le=64)
    patch: int = setting(7, "side of the square patches of an image, in pixels; tokens have none", ge=1, le=1000)
    activation: ActivationName = setting("gelu", "activation of the blocks' MLPs")
    bias: bool = setting(True, "whether layers have a bias")
    init: Initialisation = setting("lecun", INIT)

    tags = {
        "depth": "d",
        "width": "w",
        "heads": "h",
        "expansion": "x",
        "patch": "p",
        "activation": "",
        "init": "",
        "init_scale": "s",
        "init_std": "std",
    }
    quiet_tags = frozenset(tags) - {"depth", "width"}

    @model_validator(mode="after")
    def _heads_divide(self) -> Transformer:
        if self.width % self.heads:
            raise ValueError(f"heads: {self.heads} heads do not divide a width of {self.width}")
        return self


def _sequence(settings: Transformer, data: DataShape) -> tuple[int, int]:
    """Return the number of positions, and of inputs at each position."""
    if data.vocabulary is not None:
        return data.input_shape[0], data.vocabulary
    channels, height, width = data.input_shape
    return -(-height // settings.patch) * -(-width // settings.patch), channels * settings.patch**2


def layers(settings: Transformer, data: DataShape) -> tuple[LayerShape, ...]:
    """List the weight matrices in forward order."""
    positions, inputs = _sequence(settings, data)
    width, hidden = settings.width, settings.expansion * settings.width
    shapes = [LayerShape("embed", width, inputs, positions)]
    for index in range(settings.depth):
        for part in ("query", "key", "value"):
            shapes.append(LayerShape(f"blocks.{index}.{part}", width, width, positions, settings.heads))
        shapes.append(LayerShape(f"blocks.{index}.output", width, width, positions))
        shapes.append(LayerShape(f"blocks.{index}.up", hidden, width, positions))
        shapes.append(LayerShape(f"blocks.{index}.down", width, hidden, positions))
    return (*shapes, LayerShape("readout", data.outputs, width, readout=True))


def build(settings: Transformer, data: DataShape, generator: torch.Generator) -> torch.nn.Module:
    """Build the network and draw its weights."""
    from torch import nn

    from nfa.models.blocks import Encoder, EncoderBlock, OneHot, Patches
    from nfa.models.initialise import draw_weights

    positions, inputs = _sequence(settings, data)
    width, hidden, bias = settings.width, settings.expansion * settings.width, settings.bias
    model = Encoder(
        Patches(settings.patch) if data.vocabulary is None else OneHot(data.vocabulary),
        nn.Linear(inputs, width, bias=bias),
        positions,
        [EncoderBlock(width, settings.heads, hidden, settings.activation, bias=bias) for _ in range(settings.depth)],
        nn.Linear(width, data.outputs, bias=bias),
    )
    draw_weights(model, settings.init, settings.init_scale, generator, settings.init_std)
    return model


ENTRY = ModelEntry(
    Transformer,
    layers,
    build,
    reads=frozenset({"images", "tokens"}),
    about="small pre-norm encoder of image patches or tokens, mean over positions",
    attention=True,
)
