"""The network before training, to measure what has changed since."""

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from nfa.errors import nearest


def initial_network(model: nn.Module, initial: nn.Module | Mapping[str, Tensor]) -> nn.Module:
    """Make the network before training, after checking that it is the same network.

    Raises:
        ValueError: A parameter or buffer that is missing, unknown or of another shape.
    """
    given = initial.state_dict() if isinstance(initial, nn.Module) else initial
    own = model.state_dict()
    for name in own:
        if name not in given:
            raise ValueError(f"initial: {name!r} is missing")
        if own[name].shape != given[name].shape:
            shapes = f"{tuple(given[name].shape)}, the model's {tuple(own[name].shape)}"
            raise ValueError(f"initial: {name!r} has shape {shapes}")
    for name in given:
        if name not in own:
            raise ValueError(f"initial: {name!r} is not in the model: {nearest(name, own)}")
    network = copy.deepcopy(model)
    network.load_state_dict(given)
    return network
