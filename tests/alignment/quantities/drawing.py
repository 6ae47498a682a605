"""Weights and covariances of given shapes and ranks, drawn from a seed."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from nfa.alignment import LayerCovariance
from nfa.alignment.quantities.rotations import haar
from nfa.alignment.quantities.values import Value

DOUBLE = 2.0**-52
shapes = st.tuples(st.integers(2, 9), st.integers(3, 9))
seeds = st.integers(0, 2**32 - 1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_pair(shape: tuple[int, int], rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw W (k, d), and K of the given rank with eigenvalues between .2 and 1.2."""
    source = generator(seed)
    k, d = shape
    weight = torch.randn(k, d, dtype=torch.float64, generator=source)
    basis = haar(k, source)[:, : min(rank, k)]
    values = 0.2 + torch.rand(basis.shape[1], dtype=torch.float64, generator=source)
    return weight, (basis * values) @ basis.T


def values_of(found: dict[str, Value]) -> dict[str, float]:
    return {name: value.value for name, value in found.items()}


def layer_of(weight: Tensor, covariance: Tensor, resolution: float = DOUBLE) -> LayerCovariance:
    """A hidden layer of given W, (k, d) or (g, k, d), and K, (k, k) or (g, k, k)."""
    return LayerCovariance(
        layer="hidden",
        index=0,
        depth_from_output=1,
        chain_length=2,
        own_weight=weight,
        total=covariance.reshape(-1, *covariance.shape[-2:]),
        n=1,
        outputs=1,
        resolution=resolution,
    )
