"""Capture the features of every layer, and the inputs and outputs of its product, from one forward pass.

The features of a layer are the values that enter the next layer: its output after the activation and all other modules
between the two layers. The features of the last layer are the network's output.

    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> inputs = torch.ones(5, 3)
    >>> {name: tuple(found.values.shape) for name, found in layer_features(model, inputs, ["0", "2"]).items()}
    {'0': (5, 4), '2': (5, 2)}
    >>> tuple(layer_passes(model, inputs, ["0"])["0"].outputs.shape)  # (n, positions, k)
    (5, 1, 4)
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nfa.alignment.network.survey import survey_layers
from nfa.alignment.network.trial_schedule import BLOCK

MAX_FEATURES = 256  # larger feature maps are averaged over positions, because a ridge probe costs the square of this
FORWARD_BATCH = 1000  # samples per forward pass

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PRODUCTS = (nn.Linear, *_CONVOLUTIONS)  # modules that compute W x (+ b)


@dataclass(frozen=True)
class LayerFeatures:
    """Features of one layer.

    Attributes:
        values: (n, number of features) float32.
        about: Description of the features for the table's column ``features``.
    """

    values: Tensor
    about: str


@dataclass(frozen=True)
class LayerPass:
    """Inputs and outputs of one layer h = W x (+ b).

    Attributes:
        inputs: x, (n, number of inputs), all positions flattened.
        outputs: h, (n, positions, k); the groups of a convolution follow each other along k.
    """

    inputs: Tensor
    outputs: Tensor


def layer_features(
    model: nn.Module, inputs: Tensor, layers: Sequence[str], max_features: int = MAX_FEATURES
) -> dict[str, LayerFeatures]:
    """Capture the features of every layer on given inputs, all from one forward pass.

    Args:
        model: Network, left as it was; of a layer that is called several times, the last call counts.
        inputs: (n, *input_shape).
        layers: Names of some or all layers.
        max_features: Features are flattened to (n, m) if m is at most this; larger ones are averaged, see ``flatten``.

    Returns:
        Layer name -> its features, in forward order. Left out are layers whose next layer is no module of its own
        (query, key and value that share one weight), and layers that only some samples go through (experts), with
        those before them.

    Raises:
        ValueError: ``layers`` is empty, or names something that is no layer of the network.
    """
    wanted, every = named_layers(model, inputs, layers)
    modules, next_layer = dict(model.named_modules()), dict(pairwise(every))
    following = {name: next_layer[name] for name in wanted if next_layer.get(name) in modules}
    readout = [name for name in wanted if name == every[-1]]
    caught: dict[str, list[LayerFeatures]] = {name: [] for name in (*following, *readout)}
    last: dict[str, Tensor] = {}

    def catch(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(_: nn.Module, args: Any) -> None:
            last[name] = args[0].clone()

        return hook

    handles = [modules[entered].register_forward_pre_hook(catch(name)) for name, entered in following.items()]
    for outputs in _forward(model, inputs, handles):
        for name in readout:
            last[name] = outputs
        for name in list(caught):
            values = last.pop(name, None)
            if values is None or len(values) != len(outputs):  # not all samples go through the next layer
                del caught[name]
                continue
            about = "output of the network" if name in readout else "input of the next layer"
            caught[name].append(flatten(values, about, max_features))
    return {
        name: LayerFeatures(torch.cat([part.values for part in parts]), parts[0].about)
        for name, parts in caught.items()
    }


def named_layers(model: nn.Module, inputs: Tensor, layers: Sequence[str]) -> tuple[list[str], list[str]]:
    """Find the layers of a network, as ``nfa.measure`` names them.

    The network is run on two samples, and on up to 32 where these may not go through all layers.

    Returns:
        Those of ``layers`` that all samples went through, and every layer, both in forward order.

    Raises:
        ValueError: ``layers`` is empty, or names something that is no layer of the network.
    """
    # Spread over all samples, because they may be sorted by class, and an expert may see those of one class only.
    places = torch.linspace(0, len(inputs) - 1, min(len(inputs), BLOCK), dtype=torch.float64).round().long()
    few_and_more = (inputs[rows] for rows in (slice(2), places.to(inputs.device)))
    survey, recording = survey_layers(model, few_and_more)
    survey.refuse_unknown(layers, recording)
    rows = Counter[str]()
    for call in recording.calls:
        rows[call.layer.name] += call.rows
    in_all = [name for name in survey.order if rows[name] and rows[name] % len(recording.inputs) == 0]
    return [name for name in in_all if name in layers], survey.order


def layer_passes(model: nn.Module, inputs: Tensor, layers: Sequence[str]) -> dict[str, LayerPass]:
    """Capture the inputs and outputs of layers, all from one forward pass.

    Args:
        model: Network, left as it was; of a layer that is called several times, the last call counts.
        inputs: (n, *input_shape).
        layers: Module names.

    Returns:
        Layer name -> its pass. Left out are modules that are neither linear nor convolutional, which have no single
        h = W x of their own, and layers that only some of the samples go through.
    """
    modules = dict(model.named_modules())
    caught: dict[str, list[LayerPass]] = {name: [] for name in layers if isinstance(modules.get(name), _PRODUCTS)}
    last: dict[str, LayerPass] = {}

    def catch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            channels_last = output.movedim(1, -1) if isinstance(module, _CONVOLUTIONS) else output
            positions = channels_last.reshape(len(output), -1, channels_last.shape[-1])
            # Copies, because later operations may work in place.
            last[name] = LayerPass(args[0].flatten(1).clone(), positions.clone())

        return hook

    handles = [modules[name].register_forward_hook(catch(name)) for name in caught]
    for outputs in _forward(model, inputs, handles):
        for name in list(caught):
            seen = last.pop(name, None)
            if seen is None or len(seen.inputs) != len(outputs):  # not all samples go through the layer
                del caught[name]
                continue
            caught[name].append(seen)
    return {
        name: LayerPass(torch.cat([part.inputs for part in parts]), torch.cat([part.outputs for part in parts]))
        for name, parts in caught.items()
    }


def _forward(model: nn.Module, inputs: Tensor, handles: Sequence[Any]) -> Any:
    """Yield the outputs of a network in eval mode batch by batch; then remove the hooks and restore its mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            for batch in inputs.split(FORWARD_BATCH):
                yield model(batch.clone())  # the network may change its input in place
    finally:
        for module, mode in modes.items():
            module.training = mode
        for handle in handles:
            handle.remove()


def flatten(values: Tensor, about: str, max_features: int = MAX_FEATURES) -> LayerFeatures:
    """Flatten features to (n, m), and average them first if m would be too large.

    Tokens (n, positions, k) are averaged over positions; images (n, c, h, w) over the cells of the finest square grid
    that gives at most ``max_features`` values, or else to one value per channel.
    """
    if values.dim() == 3 and values[0].numel() > max_features:
        return LayerFeatures(values.mean(1), f"{about}, averaged over positions")
    if values.dim() == 4 and values[0].numel() > max_features:
        side = max(1, int((max_features / values.shape[1]) ** 0.5))
        side = min(side, *values.shape[2:])
        return LayerFeatures(
            functional.adaptive_avg_pool2d(values, side).flatten(1), f"{about}, averaged to {side} x {side}"
        )
    return LayerFeatures(values.flatten(1), f"{about}, flattened")
