"""States of the generators of random numbers: to see whether a pass drew, and to let another pass draw the same."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """States of the generators that a forward pass may draw from: Python's, numpy's, torch's and the device's.

    Attributes:
        python: State of ``random``.
        numpy: State of ``numpy.random``.
        cpu: State of torch's generator on the CPU.
        device: State of the generator on the network's GPU; None on the CPU.
        where: The network's device.
    """

    python: Any
    numpy: Any
    cpu: Tensor
    device: Tensor | None
    where: torch.device

    @classmethod
    def now(cls, where: torch.device) -> "Draws":
        """Take the present states."""
        device = torch.cuda.get_rng_state(where) if where.type == "cuda" else None
        numpy = np.random.get_state()  # noqa: NPY002 - the global state is the one that networks use
        return cls(random.getstate(), numpy, torch.get_rng_state(), device, where)

    def restore(self) -> None:
        """Set all generators back to these states."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.cpu)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device, self.where)

    def drawn_since(self) -> bool:
        """Tell whether any generator has drawn a number since these states were taken."""
        now = Draws.now(self.where)
        latest, earlier = ([s.python, s.numpy[1].tolist(), s.numpy[2:]] for s in (now, self))
        pairs = [(now.cpu, self.cpu), (now.device, self.device)]
        return latest != earlier or any(a is not None and b is not None and not torch.equal(a, b) for a, b in pairs)
