"""The arrays for pictures, against dense matrices."""

import numpy as np
import pytest
import torch

from nfa.alignment import pictures
from nfa.alignment.quantities.haar import haar


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
