"""Random generators, each seeded by a purpose, the run's seed and the settings that the draw depends on.

Data depend on the data entry, initial weights on data and model, the order of batches on data and batch size. So two
optimizers at one seed share data, initial weights and batches, and only the optimizers make the runs differ.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def named_seed(purpose: str, seed: int, **depends_on: Any) -> int:
    """Hash a purpose, a run's seed and plain content to a seed of 63 bits.

    Example:
        >>> named_seed("data", 0, data={"name": "digits"}) == named_seed("data", 0, data={"name": "digits"})
        True
    """
    text = json.dumps([purpose, int(seed), depends_on], sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(purpose: str, seed: int, **depends_on: Any) -> np.random.Generator:
    """Make the numpy generator for a purpose."""
    return np.random.default_rng(named_seed(purpose, seed, **depends_on))


def torch_generator(purpose: str, seed: int, **depends_on: Any) -> torch.Generator:
    """Make the torch generator for a purpose, on the CPU: its draws do not depend on the device of the network."""
    import torch

    return torch.Generator().manual_seed(named_seed(purpose, seed, **depends_on))
