"""Multi-layer perceptron: flattened inputs, equal hidden widths, a linear readout."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from nfa.data.shape import DataShape
from nfa.models.entry import LayerShape, ModelEntry
from nfa.settings import Settings, setting

if TYPE_CHECKING:
    import torch


class MLP(Settings):
    """Settings of ``mlp``."""

    name: Literal["mlp"] = "mlp"
    depth: int = setting(2, "number of hidden layers (depth + 1 weight matrices)", ge=0, le=1000)
    width: int = setting(256, "units of each hidden layer", ge=1, le=100_000)
    activation: Literal["relu", "gelu", "tanh", "linear"] = setting("relu", "activation after each hidden layer")
    bias: bool = setting(False, "whether layers have a bias")
    init: Literal["he", "pytorch"] = setting("he", "he: normal, variance 2/fan-in; pytorch: its uniform default")
    init_scale: float = setting(1.0, "factor on every initial weight", gt=0, le=1e6)

    tags = {"depth": "d", "width": "w", "activation": "", "init": "", "init_scale": "s"}
    quiet_tags = frozenset({"activation", "init", "init_scale"})


def layers(settings: MLP, data: DataShape) -> tuple[LayerShape, ...]:
    """List the weight matrices in forward order."""
    widths = [math.prod(data.input_shape)] + [settings.width] * settings.depth
    hidden = [LayerShape(f"hidden{i}", settings.width, widths[i]) for i in range(settings.depth)]
    return (*hidden, LayerShape("readout", data.outputs, widths[-1]))


def build(settings: MLP, data: DataShape, generator: torch.Generator) -> torch.nn.Module:
    """Build the network and draw its weights."""
    from torch import nn

    from nfa.models.initialise import activation, draw_weights

    modules: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    *hidden, readout = layers(settings, data)
    for index, layer in enumerate(hidden):
        modules[layer.name] = nn.Linear(layer.fan_in, layer.fan_out, bias=settings.bias)
        modules[f"activation{index}"] = activation(settings.activation)
    modules[readout.name] = nn.Linear(readout.fan_in, readout.fan_out, bias=settings.bias)
    model = nn.Sequential(modules)
    draw_weights(model, settings.init, settings.init_scale, generator)
    return model


ENTRY = ModelEntry(
    MLP,
    layers,
    build,
    reads=frozenset({"vectors", "images"}),
    about="multi-layer perceptron; depth, width, activation, scale",
)
