"""Untrained classification networks of torchvision, such as ``torchvision:resnet18``; layers keep their names.

Grey images are repeated to three channels before they enter the network. Dropout and stochastic depth are switched off,
because all random numbers of a run come from its named generators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from nfa.data.shape import DataShape
from nfa.entries import Settings, setting
from nfa.errors import UserError, cut, describe, nearest, one_line
from nfa.models.discover import layers_of, seeded
from nfa.models.entry import ModelEntry

if TYPE_CHECKING:
    import torch

COLOURS = 3


class TorchvisionModel(Settings):
    """Settings of ``torchvision:NAME``."""

    name: str = setting("torchvision:resnet18", "torchvision: and the name of a classification network of torchvision")
    weights: Literal["none"] = setting("none", "untrained: initial weights are drawn by torchvision's own schemes")


def _options(name: str, data: DataShape) -> dict[str, Any]:
    """Return arguments of torchvision's builder: the size of images, or to build no auxiliary output."""
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        return {"image_size": data.input_shape[1]}
    return {"input_size": data.input_shape[1:]} if name.startswith("maxvit") else {}


def build(settings: TorchvisionModel, data: DataShape, generator: torch.Generator) -> torch.nn.Module:
    """Build the network and draw its weights.

    Raises:
        UserError: torchvision has no such network, or it cannot be built for these images.
    """
    from torch import nn

    from nfa.external.torchvision_import import torchvision

    models = torchvision().models
    name, valid = settings.name.partition(":")[2], models.list_models(module=models)
    if name not in valid:
        raise UserError(f"{cut(settings.name)}: torchvision has no network {one_line(name)}; {nearest(name, valid)}")
    if data.input_shape[0] not in (1, COLOURS):
        raise UserError(f"{settings.name} reads 1 or 3 channels; the data have {data.input_shape[0]}")
    try:
        with seeded(generator):
            model = models.get_model(name, weights=None, num_classes=data.outputs, **_options(name, data))
    except Exception as error:
        shape = " x ".join(map(str, data.input_shape))
        raise UserError(f"{settings.name} cannot be built for images of {shape}: {describe(error)}") from None
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        elif type(module).__name__ == "StochasticDepth" or isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    if data.input_shape[0] != COLOURS:
        model.register_forward_pre_hook(_in_colour)  # a module around the network would rename the layers
    network: nn.Module = model
    return network


def _in_colour(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """Repeat a grey image to three channels."""
    return (inputs[0].expand(-1, COLOURS, -1, -1),)


layers = layers_of(build)

ENTRY = ModelEntry(
    TorchvisionModel,
    layers,
    build,
    reads=frozenset({"images"}),
    about="a classification network of torchvision, untrained, e.g. torchvision:resnet18",
    attention=None,
)
