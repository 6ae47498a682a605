"""Recurrent network: stacked layers h_t = activation(W_in x_t + W_rec h_(t-1)) and a readout of the last state.

This is Elman's network (*Finding structure in time*, 1990). The two products of a layer have separate matrices, named
``cells.0.input`` and ``cells.0.recurrent``. The network reads images row by row, tokens one by one as one-hot vectors,
and vectors in chunks. A matrix is used at every time step, and K is summed over the steps. Initial weights are
orthogonal by default, so that a signal survives many steps (Saxe et al., arXiv 1312.6120).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nfa.data.shape import DataShape
from nfa.entries import setting
from nfa.models.common import INIT, ActivationName, Drawn, Initialisation
from nfa.models.entry import LayerShape, ModelEntry

if TYPE_CHECKING:
    import torch


class RecurrentSettings(Drawn):
    """Settings of ``recurrent``."""

    name: Literal["recurrent"] = "recurrent"
    depth: int = setting(1, "number of stacked recurrent layers", ge=1, le=1000)
    width: int = setting(128, "units of each recurrent layer", ge=1, le=100_000)
    chunk: int = setting(4, "coordinates of a vector in each step; rows of images and tokens are steps", ge=1, le=10**6)
    activation: ActivationName = setting("tanh", "activation of each layer")
    bias: bool = setting(False, "whether input and readout have a bias")
    init: Initialisation = setting("orthogonal", INIT)

    tags = {
        "depth": "d",
        "width": "w",
        "chunk": "c",
        "activation": "",
        "init": "",
        "init_scale": "s",
        "init_std": "std",
    }
    quiet_tags = frozenset(tags) - {"depth", "width"}


def _sequence(settings: RecurrentSettings, data: DataShape) -> tuple[int, int]:
    """Return the number of steps, and of inputs at each step."""
    if data.kind == "tokens":
        assert data.vocabulary is not None
        return data.input_shape[0], data.vocabulary
    if data.kind == "images":
        channels, height, width = data.input_shape
        return height, channels * width
    return -(-data.input_shape[0] // settings.chunk), settings.chunk


def layers(settings: RecurrentSettings, data: DataShape) -> tuple[LayerShape, ...]:
    """List the weight matrices in forward order."""
    steps, inputs = _sequence(settings, data)
    shapes = []
    for index in range(settings.depth):
        shapes.append(LayerShape(f"cells.{index}.input", settings.width, inputs, steps))
        shapes.append(LayerShape(f"cells.{index}.recurrent", settings.width, settings.width, steps))
        inputs = settings.width
    return (*shapes, LayerShape("readout", data.outputs, settings.width, readout=True))


def build(settings: RecurrentSettings, data: DataShape, generator: torch.Generator) -> torch.nn.Module:
    """Build the network and draw its weights."""
    from torch import nn

    from nfa.models.blocks import Chunks, OneHot, Recurrent, RecurrentLayer, Rows
    from nfa.models.initialise import draw_weights

    if data.vocabulary is not None:
        sequence: nn.Module = OneHot(data.vocabulary)
    else:
        sequence = Rows() if data.kind == "images" else Chunks(settings.chunk)
    _, inputs = _sequence(settings, data)
    widths = [inputs] + [settings.width] * settings.depth
    model = Recurrent(
        sequence,
        [RecurrentLayer(fan_in, settings.width, settings.activation, bias=settings.bias) for fan_in in widths[:-1]],
        nn.Linear(settings.width, data.outputs, bias=settings.bias),
    )
    draw_weights(model, settings.init, settings.init_scale, generator, settings.init_std)
    return model


ENTRY = ModelEntry(
    RecurrentSettings,
    layers,
    build,
    reads=frozenset({"images", "tokens", "vectors"}),
    about="stacked recurrent layers over rows of an image, tokens, or chunks of a vector",
)
