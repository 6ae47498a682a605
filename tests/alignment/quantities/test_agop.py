"""Powers and spectrum of G by k-space algebra against dense matrices, over random shapes and ranks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nfa.alignment import correlations, power_middle
from nfa.alignment.quantities.agop import Agop, Middle, factor
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.rotations import haar
from tests.alignment.comparing import assert_matrix_close, assert_values_close
from tests.alignment.quantities.drawing import DOUBLE, draw_pair, generator, seeds, shapes, values_of
from tests.alignment.reference import matrix_power, rho


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
