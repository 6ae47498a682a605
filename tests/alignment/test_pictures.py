"""The arrays for pictures, against dense matrices."""

import numpy as np
import pytest
import torch

from nfa.alignment import left_pictures, pictures
from nfa.alignment.quantities.rotations import haar
from tests.alignment.quantities.drawing import layer_of


def draw(k: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(k, d, dtype=torch.float64, generator=source)
    basis = haar(k, source)
    return weight, (basis * torch.linspace(0.1, 1, k, dtype=torch.float64)) @ basis.T


@pytest.mark.parametrize(("k", "d"), [(5, 9), (9, 5)])
def test_whole_matrices(k: int, d: int) -> None:
    weight, covariance = draw(k, d)
    arrays = pictures(weight, covariance)
    assert set(arrays) == {"nfm", "agop", "nfm_spectrum", "agop_spectrum", "k_spectrum"}
    assert all(array.dtype == np.float32 for array in arrays.values())
    for name, matrix in (("nfm", weight.T @ weight), ("agop", weight.T @ covariance @ weight)):
        np.testing.assert_allclose(arrays[name], matrix, atol=1e-5)
        expected = torch.linalg.eigvalsh(matrix).flip(0)[: min(k, d)]
        np.testing.assert_allclose(arrays[f"{name}_spectrum"], expected, atol=1e-5)
    np.testing.assert_allclose(arrays["k_spectrum"], np.linspace(1, 0.1, k), atol=1e-6)


@pytest.mark.parametrize(("k", "d"), [(6, 9), (12, 9)])
def test_large_matrices_leave_diagonal_and_leading_eigenvectors(k: int, d: int) -> None:
    weight, covariance = draw(k, d)
    arrays = pictures(weight, covariance, whole=8)
    assert "nfm" not in arrays
    assert "agop" not in arrays
    for name, matrix in (("nfm", weight.T @ weight), ("agop", weight.T @ covariance @ weight)):
        np.testing.assert_allclose(arrays[f"{name}_diagonal"], matrix.diagonal(), atol=1e-5)
        vectors = torch.from_numpy(arrays[f"{name}_eigenvectors"]).double()
        assert vectors.shape == (4, d)
        values = torch.from_numpy(arrays[f"{name}_spectrum"][:4]).double()
        np.testing.assert_allclose(vectors @ matrix, values[:, None] * vectors, atol=1e-4)
        assert (vectors.gather(1, vectors.abs().argmax(1, keepdim=True)) > 0).all()


def test_eigenvectors_that_do_not_exist_are_nan() -> None:
    weight, covariance = draw(2, 9)
    vectors = pictures(weight, covariance, whole=8)["agop_eigenvectors"]
    assert np.isnan(vectors).all(axis=1).tolist() == [False, False, True, True]


def test_what_overflows_is_nan() -> None:
    weight, covariance = draw(3, 9)
    for whole in (8, 256):
        arrays = pictures(weight, covariance * torch.inf, whole=whole)
        for name, array in arrays.items():
            assert np.isfinite(array).any() == name.startswith("nfm"), name


@pytest.mark.parametrize(("k", "d"), [(5, 9), (9, 5), (40, 60)])
@pytest.mark.parametrize("scale", [1e-3, 1e35])
def test_k_in_the_left_basis_equals_that_of_the_dense_decomposition(k: int, d: int, scale: float) -> None:
    weight, covariance = draw(k, d)
    arrays = left_pictures(layer_of(3 * weight, scale * covariance))
    left, singular, _ = np.linalg.svd(3 * weight.numpy(), full_matrices=False)
    inner = np.abs(left.T @ covariance.numpy() @ left)
    r = min(k, d, 32)
    assert all(array.dtype == np.float32 for array in arrays.values())
    np.testing.assert_allclose(arrays["strengths"], singular**2, rtol=1e-6)
    np.testing.assert_allclose(arrays["kappa"], scale * np.diagonal(inner), rtol=1e-5)
    np.testing.assert_allclose(arrays["left_k"], inner[:r, :r] / inner[:r, :r].max(), atol=1e-6)
    np.testing.assert_allclose(
        np.diagonal(arrays["left_k"]), arrays["kappa"][:r] / arrays["kappa"][:r].max(), rtol=1e-6
    )


def test_the_order_of_hidden_units_changes_nothing() -> None:
    weight, covariance = draw(7, 9)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    before = left_pictures(layer_of(weight, covariance))
    after = left_pictures(layer_of(weight[order], covariance[order][:, order]))
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_among_equal_singular_values_k_is_diagonal(dtype: torch.dtype) -> None:
    """W = U diag(2, 2, 2, 1, 1): K is diagonal within each of the two groups, and largest there first."""
    _, covariance = draw(5, 9)
    source = torch.Generator().manual_seed(2)
    left, right = haar(5, source), haar(9, source)[:, :5]
    weight = (left * torch.tensor([2.0, 2, 2, 1, 1], dtype=torch.float64)) @ right.T
    arrays = left_pictures(layer_of(weight.to(dtype), covariance))
    inner = left.T @ covariance @ left
    parts = [inner[:3, :3], inner[3:, 3:]]
    expected = np.concatenate([np.linalg.eigvalsh(part)[::-1] for part in parts])
    np.testing.assert_allclose(arrays["strengths"], [4, 4, 4, 1, 1], rtol=1e-5)
    np.testing.assert_allclose(arrays["kappa"], expected, rtol=1e-4)
    for members in (slice(0, 3), slice(3, 5)):
        within = arrays["left_k"][members, members]
        np.testing.assert_allclose(within, np.diag(np.diagonal(within)), atol=1e-5)
    squares = [np.linalg.norm(part) for part in (inner, arrays["left_k"] * expected.max())]
    np.testing.assert_allclose(squares[1], squares[0], rtol=1e-5)


def test_directions_of_several_blocks_are_merged_by_strength() -> None:
    pairs = [draw(3, 4), (lambda pair: (0.5 * pair[0].flip(0), 2 * pair[1]))(draw(3, 4))]
    weight, covariance = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    arrays = left_pictures(layer_of(weight, covariance))
    whole = left_pictures(layer_of(torch.block_diag(*weight), torch.block_diag(*covariance)))
    for name, array in whole.items():
        np.testing.assert_allclose(arrays[name], array, rtol=1e-5, atol=1e-6)


def test_directions_beyond_the_rank_and_a_vanishing_k_are_zero() -> None:
    weight, covariance = draw(6, 9)
    weight = weight.float()
    weight[5] = weight[4]
    arrays = left_pictures(layer_of(weight, covariance))
    assert (arrays["strengths"] > 0).tolist() == [True] * 5 + [False]
    left = torch.linalg.svd(weight.double(), full_matrices=False).U
    arrays = left_pictures(layer_of(weight, left[:, :2] @ left[:, :2].T))
    assert (arrays["kappa"] > 0).tolist() == [True, True, False, False, False, False]
    arrays = left_pictures(layer_of(weight, 0 * covariance))
    assert not arrays["kappa"].any()
    assert not arrays["left_k"].any()


def test_k_that_overflows_is_nan_in_the_left_basis() -> None:
    weight, covariance = draw(3, 9)
    for total in (covariance * torch.inf, covariance * torch.nan):
        arrays = left_pictures(layer_of(weight, total))
        assert {name for name, array in arrays.items() if np.isnan(array).all()} == {"left_k", "kappa"}
        assert np.isfinite(arrays["strengths"]).all()
