"""The control by random rotations: it sees no directions of K, and its rotations are from Haar measure."""

import itertools

import pytest
import torch

from nfa.alignment.quantities import haar as haar_module
from nfa.alignment.quantities import rotations as rotations_module
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.haar import DRAWS_DECOMPOSED, MANY_COLUMNS, haar_control
from nfa.alignment.quantities.rotations import DRAWS, TurnedCovariance, haar, rotations
from nfa.alignment.quantities.split import LeftBasis, tie_width
from nfa.random import torch_generator
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.quantities.drawing import DOUBLE, draw_pair, generator


def test_haar_control_does_not_see_the_directions_of_k() -> None:
    weight, k = draw_pair((6, 9), 6, 0)
    rotation = haar(6, generator(5))
    basis, powers = LeftBasis(FeatureMatrix(weight), tie_width(weight)), {"1": 1.0, "1/2": 0.5}
    results = [
        haar_control(basis, TurnedCovariance(torch.linalg.eigvalsh(matrix)[None], 6, seed=1), powers, DOUBLE)
        for matrix in (k, rotation @ k @ rotation.T)
    ]
    one, two = results
    assert {("nfc", "cosine", "1"), ("nfc", "cosine", "1/2"), ("directional", None, None)} <= one.means.keys()
    for key, mean in one.means.items():
        assert abs(mean.value - two.means[key].value) < 1e-10, key
        draws = DRAWS_DECOMPOSED if key[2] == "1/2" else DRAWS
        assert abs(mean.stderr - one.deviations[key].value / draws**0.5) < 1e-12


def test_haar_matrices_are_orthogonal_and_centred() -> None:
    source = generator(0)
    draws = torch.stack([haar(4, source) for _ in range(2000)])
    assert_matrix_close(draws[0] @ draws[0].T, torch.eye(4, dtype=torch.float64), 1e-12)
    assert draws.mean(0).abs().max() < 4 * 0.5 / 2000**0.5  # entries have mean 0 and variance 1/4
    assert (draws.square().mean(0) - 0.25).abs().max() < 0.03


@pytest.mark.parametrize("shape", [(300, 40), (200, 1100)])
@pytest.mark.parametrize(("rank", "size"), [(2, 1.0), (40, 1.0), (40, 1e-25)])
def test_large_controls_are_right_in_single_precision(
    shape: tuple[int, int], rank: int, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W^T Q K Q^T W of two matrices of almost one direction is far smaller than the product of their norms."""
    k, d = shape
    left, right, rows = (torch.randn(*size, generator=generator(7)).double() for size in ((k, rank), (rank, d), (9, k)))
    weight = left * torch.logspace(0, -1, rank, dtype=torch.float64) @ right
    scale = torch.logspace(0, -2, 9, dtype=torch.float64)[:, None]
    eigenvalues = torch.linalg.eigvalsh((scale * rows).T @ (scale * rows)).clamp(min=0)[None] * size
    basis = LeftBasis(FeatureMatrix(weight), tie_width(weight))
    turned = TurnedCovariance(eigenvalues, min(k, d), seed=1)
    monkeypatch.setattr(haar_module, "MANY_COLUMNS", d + 1)
    found = haar_control(basis, turned, {"1": 1.0}, DOUBLE)
    monkeypatch.setattr(haar_module, "LARGEST_IN_DOUBLE", k)
    expected = haar_control(basis, turned, {"1": 1.0}, DOUBLE)
    assert found.means.keys() == expected.means.keys()
    for key, value in expected.means.items():
        assert value.value == pytest.approx(found.means[key].value, abs=1e-6, nan_ok=True), key
    assert found.means["nfc", "cosine", "1"].value > 0


@pytest.mark.parametrize("columns", [MANY_COLUMNS, 512])
@pytest.mark.parametrize("rank", [2, 3, 5, 8, 12, 20, 30, 40, 60, 80])
def test_squares_on_the_diagonal_of_a_wide_matrix_enter_by_their_mean_over_signs(
    rank: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the off-diagonal correlation changes by a small part of its stated error."""
    source = generator(rank)
    weight = torch.randn(80, rank, generator=source).double() @ torch.randn(rank, columns, generator=source).double()
    factors = torch.randn(80, 10, generator=generator(rank + 1)).double() * torch.logspace(0, -1, 10)
    basis = LeftBasis(FeatureMatrix(weight), tie_width(weight))
    turned = TurnedCovariance(torch.linalg.eigvalsh(factors @ factors.T).clamp(min=0)[None], 80, seed=1)
    key = "nfc", "offdiagonal", "1"
    found = haar_control(basis, turned, {"1": 1.0}, DOUBLE)
    monkeypatch.setattr(haar_module, "MANY_COLUMNS", columns + 1)
    expected = haar_control(basis, turned, {"1": 1.0}, DOUBLE)
    assert abs(found.means[key].value - expected.means[key].value) < 0.1 * expected.means[key].stderr
    assert found.deviations[key].value == pytest.approx(expected.deviations[key].value, rel=0.02)
    assert found.means["nfc", "pearson", "1"] == expected.means["nfc", "pearson", "1"]


def test_mean_over_signs_is_that_of_all_signs() -> None:
    """Against the diagonals of W^T U A U^T W for every choice of signs of the rows of Q."""
    weight, k = draw_pair((4, 7), 4, 3)
    basis = LeftBasis(FeatureMatrix(weight), tie_width(weight))
    turned = TurnedCovariance(torch.linalg.eigvalsh(k)[None], 4, seed=1)
    found = haar_module._sums_over_diagonals(basis, turned, torch.float64)
    expected = torch.zeros(3, DRAWS, dtype=torch.float64)
    signs = list(itertools.product((1.0, -1.0), repeat=4))
    rows = basis.strongest_rows(4)[0]
    for some in signs:
        turned_rows = torch.tensor(some, dtype=torch.float64)[:, None] * rows
        diagonals = ((turned.inner(torch.float64)[:, 0] @ turned_rows) * turned_rows).sum(1)  # (draws, d)
        expected += torch.stack([diagonals.sum(1), diagonals.square().sum(1), diagonals @ basis.features.diagonal[0]])
    expected /= len(signs)
    assert torch.allclose(found[0], expected[0], rtol=1e-12)
    assert torch.allclose(found[1], expected[1], rtol=1e-12)
    # The product with the diagonal of F is that of the rotation itself: its mean over rotations is this one.
    own = ((turned.inner(torch.float64)[:, 0] @ rows) * rows).sum(1) @ basis.features.diagonal[0]
    assert torch.allclose(found[2], own, rtol=1e-12)
    assert expected[2].mean().item() == pytest.approx(own.mean().item(), rel=0.2)


def test_small_rotations_are_drawn_together_and_alike() -> None:
    """Rotations that are orthogonalised together are those drawn one by one; those of one dimension turn nothing."""
    source = torch_generator("haar", 3, size=3, blocks=2)
    one_by_one = torch.stack([torch.stack([haar(3, source) for _ in range(2)]) for _ in range(DRAWS)])
    assert torch.equal(rotations(3, 2, 3), one_by_one)
    assert torch.equal(rotations(1, 4, 3), torch.ones(DRAWS, 4, 1, 1, dtype=torch.float64))


def test_rotations_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    first = rotations(6, 1, 0)
    assert rotations(6, 1, 0) is first
    monkeypatch.setattr(rotations_module, "KEPT_BYTES", first.nbytes + rotations(5, 1, 0).nbytes)
    assert rotations(7, 1, 0) is rotations(7, 1, 0)
    again = rotations(6, 1, 0)
    assert again is not first
    assert torch.equal(again, first)
