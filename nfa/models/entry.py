"""What a model entry promises before it is built: its layers, from settings and data shape alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nfa.data.shape import DataShape, Kind
from nfa.entries import Settings

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LayerShape:
    """One weight matrix of a network.

    Attributes:
        name: Qualified module name, as in ``model.named_modules()``.
        fan_out: k, rows of W.
        fan_in: d, columns of W; for a convolution c_in * kernel height * kernel width.
        positions: Products with W per sample: pixels of a convolution's output, tokens, time steps; 1 for a linear
            layer.
    """

    name: str
    fan_out: int
    fan_in: int
    positions: int = 1


def _ones(settings: Settings, data: DataShape) -> dict[str, float]:
    """No parameter's learning rate differs."""
    return {}


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
        lr_factors: (settings, data shape) -> parameter name -> factor on the learning rate of an optimizer that moves
            every entry by about the learning rate (Adam, RMSprop, Lion, signs); a parameter not named has 1. Steps
            along the gradient and steps of given norm (SGD, SLO, Muon) need none.
        draws: Whether its forward pass may draw from global generators, as a dropout of the user's does: each training
            step then seeds them by its own name.
        chain: Whether it is an ``nn.Sequential`` whose layers are direct children, as some learning rules need; None
            where only building can tell.
    """

    settings: type[Settings]
    layers: Callable[[Any, DataShape], tuple[LayerShape, ...]]
    build: Callable[[Any, DataShape, torch.Generator], torch.nn.Module]
    reads: frozenset[Kind]
    about: str
    lr_factors: Callable[[Any, DataShape], dict[str, float]] = _ones
    chain: bool | None = False
    draws: bool = False
