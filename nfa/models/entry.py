"""What a model entry promises before it is built: its layers, from settings and data shape alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nfa.data.shape import DataShape, Kind
from nfa.settings import Settings

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LayerShape:
    """One weight matrix of a network.

    Attributes:
        name: Qualified module name, as in ``model.named_modules()``.
        fan_out: k, rows of W.
        fan_in: d, columns of W; for a convolution c_in * kernel height * kernel width.
        positions: Output positions p per sample: pixels of a convolution's output, 1 for a linear layer.
    """

    name: str
    fan_out: int
    fan_in: int
    positions: int = 1


@dataclass(frozen=True)
class ModelEntry:
    """One line of the model registry.

    Attributes:
        settings: The entry's settings class.
        layers: (settings, data shape) -> the layers in forward order, without torch (but for networks that only
            building can tell: torchvision's and the user's).
        build: (settings, data shape, generator) -> the network, all its random draws from the generator. Imports torch
            inside, because a sweep is planned without it.
        reads: Kinds of input it can read, see ``DataShape.kind``.
        about: One line for ``nfa init`` and the documentation.
    """

    settings: type[Settings]
    layers: Callable[[Any, DataShape], tuple[LayerShape, ...]]
    build: Callable[[Any, DataShape, torch.Generator], torch.nn.Module]
    reads: frozenset[Kind]
    about: str
