"""An entry of the model registry, and the shape of a layer, which is known before a network is built."""

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
        fan_out: k, the number of rows of W.
        fan_in: d, the number of columns of W; for a convolution c_in * kernel height * kernel width.
        positions: Products with W per sample: pixels of a convolution's output, tokens or time steps; 1 for a linear
            layer on vectors.
        heads: Attention heads that the rows of W belong to, for a query, key or value projection; else 1, and also in
            networks that must be built to be known.
        readout: Whether the outputs hold its products as they are: no layer and no other map follows it.
    """

    name: str
    fan_out: int
    fan_in: int
    positions: int = 1
    heads: int = 1
    readout: bool = False


def _ones(settings: Settings, data: DataShape) -> dict[str, float]:
    """Give every parameter the same learning rate."""
    return {}


@dataclass(frozen=True)
class ModelEntry:
    """One line of the model registry.

    Attributes:
        settings: The entry's settings class.
        layers: (settings, data shape) -> the layers in forward order, without torch (except for networks that must be
            built to be known: torchvision's and the user's).
        build: (settings, data shape, generator) -> the network; all random draws come from the generator. Torch is
            imported inside, because a sweep is planned without it.
        reads: Kinds of input that the network can read, see ``DataShape.kind``.
        about: One line for ``nfa init`` and the documentation.
        lr_factors: (settings, data shape) -> parameter name -> factor on the learning rate of an optimizer that moves
            every entry by about the learning rate (Adam, RMSprop, Lion, sign descent); a parameter that is not named
            has factor 1. Steps along the gradient and steps of given norm (SGD, SLO, Muon) need no factor.
        attention: Whether the network has attention, the number of whose heads is the setting ``heads``; None if the
            network must be built to know.
        chain: Whether the network is an ``nn.Sequential`` whose layers are direct children, as some learning rules
            need; None if the network must be built to know.
        draws: Whether the forward pass may draw from global random generators, as a user's dropout does; each training
            step then seeds these generators.
    """

    settings: type[Settings]
    layers: Callable[[Any, DataShape], tuple[LayerShape, ...]]
    build: Callable[[Any, DataShape, torch.Generator], torch.nn.Module]
    reads: frozenset[Kind]
    about: str
    lr_factors: Callable[[Any, DataShape], dict[str, float]] = _ones
    attention: bool | None = False
    chain: bool | None = False
    draws: bool = False
