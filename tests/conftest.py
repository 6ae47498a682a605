"""Every test starts from random numbers of its own, whatever ran before it and in which process."""

import random
from zlib import crc32

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _own_random_numbers(request: pytest.FixtureRequest) -> None:
    """Seed torch, numpy and Python from the test's name, so that a failure comes back when its test is run alone."""
    seed = crc32(request.node.nodeid.encode())
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
