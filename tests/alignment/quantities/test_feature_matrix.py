"""Correlations of F by k-space algebra against dense matrices, over random shapes and ranks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nfa.alignment import correlations
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from tests.alignment.comparing import assert_values_close
from tests.alignment.quantities.drawing import draw_pair, seeds, shapes, values_of
from tests.alignment.reference import rho


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shapes, st.integers(1, 9), seeds)
def test_power_one(shape: tuple[int, int], rank: int, seed: int) -> None:
    weight, k = draw_pair(shape, rank, seed)
    expected = rho(weight.T @ weight, weight.T @ k @ weight)
    assert_values_close(values_of(correlations(weight, k)), expected, 1e-9)


@pytest.mark.parametrize("shape", [(40, 300), (96, 96), (150, 40), (3, 4)])
@pytest.mark.parametrize("rank", [1, 10, 200])
@pytest.mark.parametrize(
    ("scale", "mean", "top"),
    [(1, 0, 0), (1, 0.3, 0), (1, 30, 0), (1, 0, 30), (1e-4, 0, 0), (1e-12, 0, 0), (1e12, 1, 0), (0, 0, 0)],
)
def test_power_one_of_a_float32_weight(
    shape: tuple[int, int], rank: int, scale: float, mean: float, top: float
) -> None:
    """float32 gives the float64 values: plain, with a mean that cancels, with one large singular value, at any size."""
    weight, k = draw_pair(shape, rank, 3)
    weight = weight + mean + top * torch.outer(weight[:, 0], weight[0])
    weight = (scale * weight).float()
    for middle in (k, 1e15 * k, 1e-15 * k, k - k.flip(0, 1)):
        expected = correlations(weight.double(), middle)
        found = correlations(weight, middle)
        for name, value in expected.items():
            assert found[name].note == value.note
            if value.value == value.value:
                assert abs(found[name].value - value.value) < 1e-6, name


def test_power_one_where_float32_sees_only_rounding() -> None:
    """K acts on directions that W does not reach."""
    weight, k = draw_pair((20, 30), 5, 1)
    basis = torch.linalg.qr(weight.float().double()[:, :10]).Q
    weight = (basis @ basis.T @ weight).float()
    outside = torch.eye(20, dtype=torch.float64) - basis @ basis.T
    middle = outside @ k @ outside + 1e-7 * k
    expected, found = correlations(weight.double(), middle), correlations(weight, middle)
    assert_values_close(values_of(found), values_of(expected), 1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shapes, seeds)
def test_indefinite_middle(shape: tuple[int, int], seed: int) -> None:
    weight, k = draw_pair(shape, 9, seed)
    other = draw_pair(shape, 9, seed + 1)[1]
    expected = rho(weight.T @ weight, weight.T @ (k - other) @ weight)
    assert_values_close(values_of(correlations(weight, k - other)), expected, 1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(shapes, seeds)
def test_product_of_fact(shape: tuple[int, int], seed: int) -> None:
    weight = draw_pair(shape, 1, seed)[0]
    other = draw_pair(shape, 1, seed + 1)[0]
    product = weight.T @ other
    expected = rho(weight.T @ weight, (product + product.T) / 2)
    found = FeatureMatrix(weight).moments_of_product(other).correlations()
    assert_values_close(values_of(found), expected, 1e-9)
