"""The states that random numbers are drawn from: whether a pass drew one, and the same draws again."""

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
        python: Of ``random``.
        numpy: Of ``numpy.random``.
        cpu: Of torch's generator on the CPU.
        device: Of the generator on the network's GPU; None on the CPU.
        where: The network's device.
    """

    python: Any
    numpy: Any
    cpu: Tensor
    device: Tensor | None
    where: torch.device

    @classmethod
    def now(cls, where: torch.device) -> "Draws":
        """Take the states as they are."""
        device = torch.cuda.get_rng_state(where) if where.type == "cuda" else None
        numpy = np.random.get_state()  # noqa: NPY002 - the global state is the one that networks use
        return cls(random.getstate(), numpy, torch.get_rng_state(), device, where)

    def restore(self) -> None:
        """Let the next draws be those that came after this state was taken."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.cpu)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device, self.where)

    def drawn_since(self) -> bool:
        """Whether a number was drawn since."""
        now = Draws.now(self.where)
        theirs, own = ([s.python, s.numpy[1].tolist(), s.numpy[2:]] for s in (now, self))
        pairs = [(now.cpu, self.cpu), (now.device, self.device)]
        return theirs != own or any(a is not None and b is not None and not torch.equal(a, b) for a, b in pairs)
