"""Multi-layer perceptron: flattened inputs, equal hidden widths, a linear readout.

The parametrisation chooses fixed factors a and c in the forward pass h = a W x + c b of each layer. They decide how far
a layer moves in training as the width n grows:

standard    a = c = 1.
ntk         neural tangent kernel (Jacot, Gabriel & Hongler, arXiv 1806.07572): a = 1/sqrt(fan-in). At a learning rate
            independent of the width, outputs move by a finite amount, and hidden features move less as n grows.
mup         maximal update (Yang & Hu, arXiv 2011.14522, their abc-parametrisation for gradient descent): with
            r = n / base_width, a = sqrt(r) in the first layer and 1/sqrt(r) in the readout. Features move by an amount
            independent of the width.

Under ntk and mup the initial weights are divided by a, so that a W has its standard size; only the readout of mup is
not divided and starts smaller by sqrt(r). The network at initialisation is therefore the standard one under ntk, and
under mup at the base width.

With factors in the forward pass, gradient descent (with or without momentum) and steps of fixed norm (SLO, Muon) need
no learning rates by layer. Optimizers whose steps do not depend on the size of each gradient entry also need
``lr_factors``, which follow from the same table with entries of size one in place of gradients (Yang et al., arXiv
2203.03466). The factors multiply NFM and AGOP by constants, so correlations do not depend on them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from nfa.data.shape import DataShape
from nfa.entries import setting
from nfa.models.common import ActivationName, Drawn
from nfa.models.entry import LayerShape, ModelEntry

if TYPE_CHECKING:
    import torch

BASE_WIDTH = 64


class MLP(Drawn):
    """Settings of ``mlp``."""

    name: Literal["mlp"] = "mlp"
    depth: int = setting(2, "number of hidden layers (depth + 1 weight matrices)", ge=0, le=1000)
    width: int = setting(256, "units of each hidden layer", ge=1, le=100_000)
    activation: ActivationName = setting("relu", "activation after each hidden layer")
    bias: bool = setting(False, "whether layers have a bias")
    parametrisation: Literal["standard", "ntk", "mup"] = setting(
        "standard", "how layers scale with width: standard, ntk (neural tangent kernel), mup (maximal update)"
    )
    base_width: int = setting(
        BASE_WIDTH, "with parametrisation: mup, the width at which it equals standard", ge=1, le=100_000
    )

    tags = {
        "depth": "d",
        "width": "w",
        "activation": "",
        "init": "",
        "init_scale": "s",
        "init_std": "std",
        "parametrisation": "",
    }
    quiet_tags = frozenset({"activation", "init", "init_scale", "init_std", "parametrisation"})

    @model_validator(mode="after")
    def _base_width_is_used(self) -> MLP:
        if self.parametrisation != "mup" and self.base_width != BASE_WIDTH:
            raise ValueError("base_width: only used with parametrisation: mup")
        return self


@dataclass(frozen=True)
class Scaling:
    """Fixed factors of one layer h = a W x + c b.

    Attributes:
        weight: a.
        bias: c.
        initial: Factor on the initial weights.
        entrywise: Factors on the learning rate of entrywise steps, of the weight and of the bias.
    """

    weight: float = 1.0
    bias: float = 1.0
    initial: float = 1.0
    entrywise: tuple[float, float] = (1.0, 1.0)


def layers(settings: MLP, data: DataShape) -> tuple[LayerShape, ...]:
    """List the weight matrices in forward order."""
    widths = [math.prod(data.input_shape)] + [settings.width] * settings.depth
    hidden = [LayerShape(f"hidden{i}", settings.width, widths[i]) for i in range(settings.depth)]
    return (*hidden, LayerShape("readout", data.outputs, widths[-1], readout=True))


def scalings(settings: MLP, data: DataShape) -> tuple[Scaling, ...]:
    """Return the factors of every layer, in forward order."""
    shapes = layers(settings, data)
    if settings.parametrisation == "ntk":
        return tuple(Scaling(weight=layer.fan_in**-0.5, initial=layer.fan_in**0.5) for layer in shapes)
    if settings.parametrisation == "standard" or settings.depth == 0:
        return tuple(Scaling() for _ in shapes)
    ratio = settings.width / settings.base_width
    root = math.sqrt(ratio)
    first = Scaling(weight=root, bias=root, initial=1 / root, entrywise=(1 / root, 1 / root))
    hidden = Scaling(bias=root, entrywise=(1 / ratio, 1 / root))
    readout = Scaling(weight=1 / root, entrywise=(1 / root, 1.0))
    return (first, *[hidden] * (settings.depth - 1), readout)


def lr_factors(settings: MLP, data: DataShape) -> dict[str, float]:
    """Map parameter names to factors on the learning rate of entrywise steps, if they are not 1."""
    factors: dict[str, float] = {}
    for layer, scaling in zip(layers(settings, data), scalings(settings, data), strict=True):
        factors |= dict(zip((f"{layer.name}.weight", f"{layer.name}.bias"), scaling.entrywise, strict=True))
    return {name: f for name, f in factors.items() if f != 1 and (settings.bias or not name.endswith(".bias"))}


def build(settings: MLP, data: DataShape, generator: torch.Generator) -> torch.nn.Module:
    """Build the network and draw its weights."""
    import torch
    from torch import nn

    from nfa.models.blocks import ScaledLinear
    from nfa.models.initialise import activation, draw_weights

    def linear(layer: LayerShape, scaling: Scaling) -> nn.Linear:
        if settings.parametrisation == "standard":
            return nn.Linear(layer.fan_in, layer.fan_out, bias=settings.bias)
        factors = {"multiplier": scaling.weight, "bias_multiplier": scaling.bias}
        return ScaledLinear(layer.fan_in, layer.fan_out, bias=settings.bias, **factors)

    modules: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    shapes, factors = layers(settings, data), scalings(settings, data)
    matrices = {layer.name: linear(layer, scaling) for layer, scaling in zip(shapes, factors, strict=True)}
    for index, layer in enumerate(shapes[:-1]):
        modules[layer.name] = matrices[layer.name]
        modules[f"activation{index}"] = activation(settings.activation)
    modules["readout"] = matrices["readout"]
    model = nn.Sequential(modules)
    draw_weights(model, settings.init, settings.init_scale, generator, settings.init_std)
    with torch.no_grad():
        for module, scaling in zip(matrices.values(), factors, strict=True):
            module.weight.mul_(scaling.initial)
            if module.bias is not None:
                module.bias.div_(scaling.bias)
    return model


ENTRY = ModelEntry(
    MLP,
    layers,
    build,
    reads=frozenset({"vectors", "images"}),
    about="multi-layer perceptron; depth, width, activation, scale, parametrisation",
    lr_factors=lr_factors,
    chain=True,
)
