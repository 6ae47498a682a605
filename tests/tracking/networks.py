"""A network whose last layer is no readout."""

import math
from collections.abc import Sequence

from torch import nn


def squashed(input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Return a network with a sigmoid after its last layer."""
    size = math.prod(input_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 4), nn.Tanh(), nn.Linear(4, outputs), nn.Sigmoid())
