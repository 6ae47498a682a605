"""Random draws, each from a generator named by what it depends on.

Data are named by the data entry, initial weights by data and model, batch order by data and batch size; so two
optimizers at one seed share their data, initial weights and batches, and their difference is theirs.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def named_seed(purpose: str, seed: int, **depends_on: Any) -> int:
    """Hash a purpose, a run's seed and plain content to 63 bits."""
    text = json.dumps([purpose, int(seed), depends_on], sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(purpose: str, seed: int, **depends_on: Any) -> np.random.Generator:
    """Make the numpy generator of a purpose."""
    return np.random.default_rng(named_seed(purpose, seed, **depends_on))


def torch_generator(purpose: str, seed: int, **depends_on: Any) -> torch.Generator:
    """Make the torch (CPU) generator of a purpose: the same draws whatever the device of the network."""
    import torch

    return torch.Generator().manual_seed(named_seed(purpose, seed, **depends_on))
