"""Deep linear network y = W_L ... W_1 x without bias, by default with balanced layers.

Balanced means W_(l+1)^T W_(l+1) = W_l W_l^T for every pair of layers. Gradient flow conserves it (Arora, Cohen & Hazan,
arXiv 1802.06509; the draw follows procedure 1 of Arora et al., arXiv 1810.02281). A matrix A (C, d) with
independent entries of variance 1/d, A = U S V^T, is split into

    W_1 = Q_1 S^(1/L) V^T,    W_l = Q_l S^(1/L) Q_(l-1)^T,    W_L = U S^(1/L) Q_(L-1)^T

where each Q_l has random orthonormal columns, so that the product is A (without its smallest directions if the width is
less than its rank). Every matrix then has the rank of A, at most C. In such a network W_l^T W_l is the power
1/(L - l + 1) of the average gradient outer product at layer l for any data, so the right result of a measurement is
known.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from nfa.data.shape import DataShape
from nfa.entries import Settings, setting
from nfa.models.entry import LayerShape, ModelEntry

if TYPE_CHECKING:
    import torch


class DeepLinear(Settings):
    """Settings of ``deep_linear``."""

    name: Literal["deep_linear"] = "deep_linear"
    depth: int = setting(2, "number of hidden layers (depth + 1 weight matrices)", ge=0, le=1000)
    width: int = setting(256, "units of each hidden layer", ge=1, le=100_000)
    init: Literal["balanced", "he", "pytorch", "lecun", "xavier", "orthogonal"] = setting(
        "balanced", "balanced: W'W of a layer equals WW' of the layer before; the others as for mlp"
    )
    init_scale: float = setting(1.0, "factor on every initial weight", gt=0, le=1e6)

    tags = {"depth": "d", "width": "w", "init": "", "init_scale": "s"}
    quiet_tags = frozenset({"init", "init_scale"})


def layers(settings: DeepLinear, data: DataShape) -> tuple[LayerShape, ...]:
    """List the weight matrices in forward order."""
    widths = [math.prod(data.input_shape)] + [settings.width] * settings.depth
    hidden = [LayerShape(f"linear{i}", settings.width, widths[i]) for i in range(settings.depth)]
    return (*hidden, LayerShape("readout", data.outputs, widths[-1], readout=True))


def build(settings: DeepLinear, data: DataShape, generator: torch.Generator) -> torch.nn.Module:
    """Build the network and draw its weights."""
    import torch
    from torch import nn

    from nfa.models.initialise import draw_weights

    shapes = layers(settings, data)
    matrices = OrderedDict((layer.name, nn.Linear(layer.fan_in, layer.fan_out, bias=False)) for layer in shapes)
    model = nn.Sequential(OrderedDict({"flatten": nn.Flatten(), **matrices}))
    if settings.init == "balanced":
        weights = balanced(settings.width, shapes[0].fan_in, data.outputs, len(shapes), generator)
        with torch.no_grad():
            for matrix, weight in zip(matrices.values(), weights, strict=True):
                matrix.weight.copy_(settings.init_scale * weight)
    else:
        draw_weights(model, settings.init, settings.init_scale, generator)
    return model


def balanced(width: int, inputs: int, outputs: int, count: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Draw balanced matrices W_1 ... W_count, float64."""
    import torch

    from nfa.models.initialise import orthonormal

    product = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64) / math.sqrt(inputs)
    left, values, right = torch.linalg.svd(product, full_matrices=False)
    rank = min(len(values), width) if count > 1 else len(values)
    between = [orthonormal(width, rank, generator) for _ in range(count - 1)]
    bases = [right.mT[:, :rank], *between, left[:, :rank]]
    roots = values[:rank] ** (1 / count)
    return [after * roots @ before.mT for before, after in pairwise(bases)]


ENTRY = ModelEntry(
    DeepLinear,
    layers,
    build,
    reads=frozenset({"vectors", "images"}),
    about="linear layers without activation, balanced at initialisation",
    chain=True,
)
