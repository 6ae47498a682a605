"""Rebuild the network before training from what the user gives as ``initial``, and measure it once."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.covariance.layer_covariances import LayerCovariance, Measured, measured_covariances
from nfa.alignment.network.arguments import CovarianceOptions
from nfa.alignment.network.copies import deep_copy
from nfa.alignment.network.layers import checked_device, finite, parameters_of, plain
from nfa.alignment.network.samples import Inputs
from nfa.alignment.quantities.quantity import INITIAL_COVARIANCE, MOTION
from nfa.errors import cut, nearest, one_line

WRAPPERS = ("_orig_mod.", "module.", "model.")  # prefixes of names in compiled, parallel and Lightning's networks
UNUSED = "num_batches_tracked"  # a counter of BatchNorm that eval mode does not read and that older files lack


class Initial:
    """The network before training, as it was given; its K0 is measured at most once, and only where it is needed.

    Attributes:
        given: The network before training, or its state dict.
    """

    def __init__(self, given: nn.Module | Mapping[str, Any]) -> None:
        """Take the network; nothing is checked or measured yet."""
        self.given = given
        self._layers: Mapping[str, LayerCovariance] = {}

    def network(self, model: nn.Module) -> nn.Module | None:
        """Rebuild the network, see ``initial_network``; None where its K0 is known."""
        return None if self._layers else initial_network(model, self.given)

    def layers(
        self,
        network: nn.Module | None,
        model: nn.Module,
        inputs: Inputs,
        options: CovarianceOptions,
        measured: Measured,
        compared: Collection[str],
    ) -> Mapping[str, LayerCovariance]:
        """Return W0 of every layer, with K0 where a quantity needs it or an earlier call measured it.

        Args:
            network: The network before training, from ``network``.
            model: The network now.
            inputs: As for ``measure``; the same in all calls, like the options.
            options: As for ``measure``.
            measured: The layers of the network now.
            compared: What the quantities compare a layer with, see ``Quantity.compares``.
        """
        if self._layers and self._layers.keys() >= measured.layers.keys():
            return self._layers
        network = network or initial_network(model, self.given)
        if _same_state(model, network):  # K0 is K: the same weights, samples and probes
            self._layers = measured.layers
            return self._layers
        weights = _weights(network, measured)
        # A layer that has not moved is at its start or frozen, and only K0 tells which.
        unmoved = any(torch.equal(weights[name].own_weight, now.own_weight) for name, now in measured.layers.items())
        if not (INITIAL_COVARIANCE in compared or (MOTION in compared and unmoved)):
            return weights
        self._layers = measured_covariances(network, inputs, options, like=measured.survey).layers
        return self._layers


def _same_state(model: nn.Module, network: nn.Module) -> bool:
    """Tell whether two copies of a network hold the same numbers; False where sparse tensors leave that open."""
    mine, other = model.state_dict(), network.state_dict()
    return all(
        isinstance(value, Tensor) and value.layout == torch.strided and torch.equal(value, other[name])
        for name, value in mine.items()
    )


def _weights(network: nn.Module, measured: Measured) -> dict[str, LayerCovariance]:
    """Read the weights of the measured layers in another copy of the network; K is left out."""
    parameters, places = parameters_of(network), measured.places
    return {
        name: replace(layer, own_weight=places[name].matrix(parameters, dtype=None), total=None, blocks=None)
        for name, layer in measured.layers.items()
    }


def initial_network(model: nn.Module, initial: nn.Module | Mapping[str, Any]) -> nn.Module:
    """Copy the network and load the initial weights into the copy, after checking that they fit.

    Args:
        model: The network now.
        initial: The network before training, or its state dict. State other than tensors (``get_extra_state``) may be
            missing.

    Raises:
        ValueError: A parameter or buffer that is missing, unknown, of another shape or of another kind of numbers
            (complex or whole numbers for real ones), NaN, a checkpoint in place of the state dict in it, or a network
            that cannot be measured or copied.
    """
    checked_device(model)
    given = plain(initial).state_dict() if isinstance(initial, nn.Module) else initial
    if not isinstance(given, Mapping):
        raise ValueError(f"initial: {type(given).__name__} is neither a network nor a state dict")
    own = model.state_dict()
    given = unwrapped(given, own)
    _refuse_checkpoint(given, own)
    network = deep_copy(model)
    for name, value in own.items():
        if isinstance(value, Tensor) and (name in given or not unused(name)):
            _check(name, value, given)
    for name in parameters_of(model):
        if name in given and not finite(given[name]):
            raise ValueError(f"initial: {name!r} holds NaN or infinity: nothing can be measured")
    for name in given:
        if name not in own:
            raise ValueError(f"initial: {name!r} is not in the model: {nearest(name, own)}")
    try:
        network.load_state_dict(given, strict=False)
    except Exception as error:  # a module's own set_extra_state or hooks may raise anything
        raise ValueError(f"initial: cannot be loaded: {' '.join(str(error).split())}") from error
    return network


def unused(name: str) -> bool:
    """Tell whether an entry of a state dict plays no part in a measurement and may therefore be missing."""
    return name.rpartition(".")[2] == UNUSED


def unwrapped(given: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Remove a wrapper's prefix from all names in a state dict, unless the model's own names have it, too.

    Args:
        given: Name -> value, as saved: ``torch.compile`` puts ``_orig_mod.`` before names, DataParallel ``module.``,
            and a class that holds the network in an attribute ``model``, as Lightning's do, ``model.``.
        own: The state dict of the model itself.

    Example:
        >>> unwrapped({"module.0.weight": 1}, own={"0.weight": 1})
        {'0.weight': 1}
    """
    for prefix in WRAPPERS:
        if given and all(name.startswith(prefix) for name in given) and not any(n.startswith(prefix) for n in own):
            return unwrapped({name.removeprefix(prefix): value for name, value in given.items()}, own)
    return given


def _check(name: str, value: Tensor, given: Mapping[str, Any]) -> None:
    """Check one entry of the state dict against the model's.

    Raises:
        ValueError: The entry is missing, no tensor, or of another shape.
    """
    if name not in given:
        raise ValueError(f"initial: {name!r} is missing")
    if nn.parameter.is_lazy(value):
        raise ValueError(f"initial: the model's {name!r} is not initialised: run the network once on a batch first")
    if not isinstance(given[name], Tensor):
        raise ValueError(f"initial: {name!r} is a {type(given[name]).__name__}, not a tensor")
    if nn.parameter.is_lazy(given[name]):
        raise ValueError(f"initial: {name!r} is not initialised: run that network once on a batch before training")
    if value.is_nested:
        raise ValueError(f"initial: {name!r} is a nested tensor, which torch does not load; make it dense")
    if value.shape != given[name].shape:
        shapes = f"{tuple(given[name].shape)}, the model's {tuple(value.shape)}"
        raise ValueError(f"initial: {name!r} has shape {shapes}")
    if _kind(value) != _kind(given[name]) and not unused(name):
        kinds = [str(tensor.dtype).removeprefix("torch.") for tensor in (given[name], value)]
        raise ValueError(
            f"initial: {name!r} is {kinds[0]}, the model's {kinds[1]}: only numbers of the same kind are loaded"
        )


def _kind(tensor: Tensor) -> str:
    """Name the kind of a tensor's numbers; a number type of the same kind is converted to the model's."""
    return "complex" if tensor.is_complex() else "real" if tensor.is_floating_point() else "whole"


def _refuse_checkpoint(given: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that holds a state dict under one of its keys.

    Raises:
        ValueError: It is one.
    """
    for key, value in given.items():
        if key not in own and isinstance(value, Mapping) and any(isinstance(part, Tensor) for part in value.values()):
            keys = ", ".join(map(one_line, given))
            way = f"pass the state dict in it, initial=checkpoint[{one_line(key)}]"
            raise ValueError(f"initial: a checkpoint of {cut(keys)}: {way}")
