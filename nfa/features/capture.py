"""The features of every layer, from one forward pass.

The features of a layer are what enters the next one: its output after the activation (and after whatever else stands
between the two). Those of the last layer are the network's output.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_FEATURES = 256  # larger feature maps are averaged over pixels: a ridge probe costs the square of this
FORWARD_BATCH = 1000  # samples per forward pass


@dataclass(frozen=True)
class LayerFeatures:
    """Features of one layer.

    Attributes:
        values: (n, number of features) float32.
        about: Which features they are, for the table.
    """

    values: Tensor
    about: str


@torch.no_grad()
def layer_features(model: nn.Module, inputs: Tensor, layers: Sequence[str]) -> dict[str, LayerFeatures]:
    """Capture the features of every layer on given inputs.

    Args:
        model: Network, left as it was; of a layer that is called several times, the last call counts.
        inputs: (n, *input_shape).
        layers: Module names in forward order.

    Returns:
        Layer name -> its features; without those whose next layer is no module of its own (query, key and value that
        share one weight).
    """
    last: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    handles = [
        modules[after].register_forward_pre_hook(lambda _, args, name=name: last.update({name: args[0].clone()}))
        for name, after in pairwise(layers)
        if after in modules
    ]
    caught: dict[str, list[Tensor]] = {}
    training = model.training
    model.eval()
    try:
        for batch in inputs.split(FORWARD_BATCH):
            last[layers[-1]] = model(batch)
            for name, values in last.items():
                caught.setdefault(name, []).append(values)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    entering = {name: flatten(torch.cat(parts), "input of the next layer") for name, parts in caught.items()}
    entering.pop(layers[-1])
    return entering | {layers[-1]: flatten(torch.cat(caught[layers[-1]]), "output of the network")}


def flatten(values: Tensor, about: str) -> LayerFeatures:
    """Flatten features to (n, m); images (n, c, h, w) are averaged over a coarser grid where m would be too large."""
    if values.dim() == 3 and values[0].numel() > MAX_FEATURES:
        return LayerFeatures(values.mean(1), f"{about}, averaged over positions")
    if values.dim() == 4 and values[0].numel() > MAX_FEATURES:
        side = max(1, int((MAX_FEATURES / values.shape[1]) ** 0.5))
        side = min(side, *values.shape[2:])
        return LayerFeatures(
            functional.adaptive_avg_pool2d(values, side).flatten(1), f"{about}, averaged to {side} x {side}"
        )
    return LayerFeatures(values.flatten(1), f"{about}, flattened")
