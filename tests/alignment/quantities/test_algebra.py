"""The k-space algebra against dense matrices, over random shapes and ranks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nfa.alignment import correlations, power_middle
from nfa.alignment.quantities.agop import Agop, Middle, factor
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.haar import DRAWS, DRAWS_DECOMPOSED, haar, haar_control
from nfa.alignment.quantities.values import Value
from tests.alignment.comparing import assert_matrix_close, assert_values_close
from tests.alignment.reference import matrix_power, rho

DOUBLE = 2.0**-52
shapes = st.tuples(st.integers(2, 9), st.integers(3, 9))
seeds = st.integers(0, 2**32 - 1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_pair(shape: tuple[int, int], rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """W (k, d), and K of the given rank with eigenvalues between .2 and 1.2."""
    source = generator(seed)
    k, d = shape
    weight = torch.randn(k, d, dtype=torch.float64, generator=source)
    basis = haar(k, source)[:, : min(rank, k)]
    values = 0.2 + torch.rand(basis.shape[1], dtype=torch.float64, generator=source)
    return weight, (basis * values) @ basis.T


def values_of(found: dict[str, Value]) -> dict[str, float]:
    return {name: value.value for name, value in found.items()}


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


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shapes, st.integers(1, 9), seeds, st.sampled_from([1.0, 0.5, 1 / 3, 0.2]))
def test_powers_two_ways(shape: tuple[int, int], rank: int, seed: int, exponent: float) -> None:
    """M of the power, and the sums from eigenvectors, against the dense matrix power."""
    weight, k = draw_pair(shape, rank, seed)
    dense = matrix_power(weight.T @ k @ weight, exponent)
    middle = power_middle(weight, k, exponent)
    assert_matrix_close(weight.T @ middle @ weight, dense, 1e-6, f"G^{exponent}")
    expected = rho(weight.T @ weight, dense)
    assert_values_close(values_of(correlations(weight, middle)), expected, 1e-6)
    features = FeatureMatrix(weight)
    moments = Agop.of(features, Middle(k, DOUBLE)).power_moments(exponent)
    assert_values_close(values_of(moments.correlations()), expected, 1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(shapes, seeds)
def test_product_of_fact(shape: tuple[int, int], seed: int) -> None:
    weight = draw_pair(shape, 1, seed)[0]
    other = draw_pair(shape, 1, seed + 1)[0]
    product = weight.T @ other
    expected = rho(weight.T @ weight, (product + product.T) / 2)
    found = FeatureMatrix(weight).moments_of_product(other).correlations()
    assert_values_close(values_of(found), expected, 1e-9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), seeds)
def test_factor(k: int, rank: int, seed: int) -> None:
    covariance = draw_pair((k, 3), rank, seed)[1]
    root = factor(covariance)
    assert root.shape[1] == min(k, rank)
    assert_matrix_close(root @ root.T, covariance, 1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 4), seeds)
def test_small_and_degenerate_never_raise(k: int, d: int, rank: int, seed: int) -> None:
    """One column, two columns, K = 0: values within [-1, 1], or NaN with a reason."""
    weight, covariance = draw_pair((k, d), rank, seed)
    agop = Agop.of(FeatureMatrix(weight), Middle(covariance, DOUBLE))
    for found in (correlations(weight, covariance), agop.power_moments(0.5).correlations()):
        for name, value in found.items():
            assert -1 <= value.value <= 1 or value.note, (name, value)
        assert found["cosine"].note == "" if rank else found["cosine"].note
        assert found["offdiagonal"].note if d <= 2 else True


@pytest.mark.parametrize("d", [8, 4])
def test_directions_that_the_weight_does_not_reach_are_no_agop(d: int) -> None:
    """K acts only on the null space of W^T, up to rounding, so that G is rounding and its correlation undefined."""
    basis = haar(6, generator(0))
    weight = basis[:, :3] @ torch.randn(3, d, dtype=torch.float64, generator=generator(1))
    covariance = basis[:, 4:] @ basis[:, 4:].T
    agop = Agop.of(FeatureMatrix(weight), Middle(covariance, DOUBLE))
    found = correlations(weight, covariance)
    assert {value.note for value in found.values()} == {"the matrix compared with the NFM is zero"}
    assert not agop.values.any()


def test_haar_control_does_not_see_the_directions_of_k() -> None:
    weight, k = draw_pair((6, 9), 6, 0)
    rotation = haar(6, generator(5))
    features, powers = FeatureMatrix(weight), {"1": 1.0, "1/2": 0.5}
    results = [
        haar_control(features, torch.linalg.eigvalsh(matrix)[None], powers, DOUBLE, seed=1)
        for matrix in (k, rotation @ k @ rotation.T)
    ]
    (one, one_sd), (two, _) = results
    for convention, mean in one.items():
        assert abs(mean.value - two[convention].value) < 1e-10, convention
        draws = DRAWS if convention[1] == "1" else DRAWS_DECOMPOSED
        assert abs(mean.stderr - one_sd[convention].value / draws**0.5) < 1e-12


def test_haar_matrices_are_orthogonal_and_centred() -> None:
    source = generator(0)
    draws = torch.stack([haar(4, source) for _ in range(2000)])
    assert_matrix_close(draws[0] @ draws[0].T, torch.eye(4, dtype=torch.float64), 1e-12)
    assert draws.mean(0).abs().max() < 4 * 0.5 / 2000**0.5  # entries have mean 0 and variance 1/4
    assert (draws.square().mean(0) - 0.25).abs().max() < 0.03
