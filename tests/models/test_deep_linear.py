"""Balanced deep linear networks, whose alignment is known exactly."""

from itertools import pairwise

import pytest
import torch

from nfa.alignment import measure_covariances
from nfa.data import DataShape
from nfa.models import MODELS
from nfa.models.deep_linear import DeepLinear

SHAPE = DataShape((12,), 4, None, 100, 10)


def weights(settings: DeepLinear) -> list[torch.Tensor]:
    model = MODELS["deep_linear"].build(settings, SHAPE, torch.Generator().manual_seed(0))
    return [value.double() for value in model.state_dict().values()]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [2, 9, 30])
@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_layers_are_balanced(depth: int, width: int, scale: float) -> None:
    matrices = weights(DeepLinear(depth=depth, width=width, init_scale=scale))
    for before, after in pairwise(matrices):
        assert torch.allclose(after.mT @ after, before @ before.mT, rtol=0, atol=3e-7 * before.norm().item() ** 2)
    norms = [matrix.norm().item() / scale for matrix in matrices]
    assert norms == pytest.approx([norms[0]] * len(norms), rel=1e-6)


def test_the_product_is_a_gaussian_matrix_of_any_depth() -> None:
    products = [torch.linalg.multi_dot(weights(DeepLinear(depth=depth, width=9))[::-1]) for depth in (1, 4)]
    assert torch.allclose(products[0], products[1], atol=1e-6)
    assert products[0].var().item() == pytest.approx(1 / 12, rel=0.5)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_ansatz_holds_exactly_at_the_depth_matched_power(depth: int) -> None:
    model = MODELS["deep_linear"].build(DeepLinear(depth=depth), SHAPE, torch.Generator().manual_seed(0))
    measured = measure_covariances(model, torch.randn(20, 12)).layers
    assert len(measured) == depth + 1
    for index, layer in enumerate(measured.values()):
        weight, power = layer.weight, 1 / (depth + 1 - index)
        agop = weight.mT @ layer.covariance @ weight
        values, vectors = torch.linalg.eigh(agop)
        values = torch.where(values > 1e-6 * values.max(), values, 0)
        squared = vectors * values**power @ vectors.mT
        assert torch.allclose(squared, weight.mT @ weight, atol=1e-5 * squared.norm().item())
