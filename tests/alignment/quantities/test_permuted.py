"""The control by permutation against dense matrices."""

import pytest
import torch
from torch import Tensor

from nfa.alignment.quantities.evaluate import quantity_values
from nfa.alignment.quantities.layer import Reference
from nfa.alignment.quantities.rotations import DRAWS
from nfa.random import torch_generator
from tests.alignment.quantities.drawing import draw_pair, generator, layer_of
from tests.alignment.reference import over, rho

SEED = 3


def permuted(covariance: Tensor) -> list[Tensor]:
    """K with its eigenvalues in other orders, those that the seed gives."""
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    k = len(eigenvalues)
    source = torch_generator("permuted", SEED, size=k, blocks=1)
    orders = [torch.rand(1, k, generator=source).argsort(1)[0] for _ in range(DRAWS)]
    return [(vectors * eigenvalues[order]) @ vectors.T for order in orders]


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
def test_equals_dense_matrices(shape: tuple[int, int]) -> None:
    """Of the weights, of their change, and along both limits at step 0."""
    weight, covariance = draw_pair(shape, shape[0], 0)
    layer = layer_of(weight, covariance)
    start, gradient, update = torch.randn(3, *shape, dtype=torch.float64, generator=generator(1))
    moved = quantity_values(layer, Reference(initial_weight=start), SEED)
    limits = quantity_values(layer, Reference(initial_weight=weight, gradient=gradient, update=update), SEED)
    for found, v in (
        (moved["permuted_nfc"], weight),
        (moved["c_permuted_nfc"], weight - start),
        (limits["c_permuted_nfc"], -gradient),
        (limits["c_permuted_nfc_update"], update),
    ):
        for name, (mean, spread) in over(rho(v.T @ v, v.T @ k @ v) for k in permuted(covariance)).items():
            assert found[name, "1"].value == pytest.approx(mean, abs=1e-10)
            assert found[name, "1"].stderr == pytest.approx(spread / DRAWS**0.5, abs=1e-10)
