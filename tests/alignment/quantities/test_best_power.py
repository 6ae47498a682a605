"""The best power against dense matrices: no power fits better, and its interval ends where the fit is .01 less."""

import math

import pytest
import torch
from torch import Tensor

from nfa.alignment.quantities.agop import Agop, Middle
from nfa.alignment.quantities.best_power import AS_FAR, AT_AN_END, CLOSE, HIGHEST, LOWEST, best_powers
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.rotations import haar
from tests.alignment.reference import matrix_power, rho

SHAPES = [(6, 9), (9, 6), (7, 7), (2, 5, 4), (2, 3, 8)]


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def decomposed(weight: Tensor, covariance: Tensor) -> Agop:
    return Agop.of(FeatureMatrix(weight), Middle(covariance, 1e-16))


def dense(tensor: Tensor) -> Tensor:
    return torch.block_diag(*tensor) if tensor.dim() == 3 else tensor


@pytest.mark.parametrize("rank", [2, 30])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_best_of_all_powers(shape: tuple[int, ...], rank: int) -> None:
    weight, rows = draw(*shape, seed=1), draw(*shape[:-1], rank, seed=2)
    covariance = rows @ rows.mT
    found = best_powers(decomposed(weight, covariance))
    blocks = shape[0] if len(shape) == 3 else 1
    w, k = dense(weight), dense(covariance)
    f, g = w.T @ w, w.T @ k @ w
    for name, best in found.items():

        def at(power: float, name: str = name) -> float:
            return rho(f, matrix_power(g, power), blocks)[name]

        assert best.fit.value == pytest.approx(at(best.power.value), abs=1e-9)
        powers = torch.linspace(math.log(LOWEST), math.log(HIGHEST), 301).exp().tolist()
        assert best.fit.value >= max(map(at, powers)) - 1e-9
        at_an_end = any(best.power.value == pytest.approx(end, rel=1e-9) for end in (LOWEST, HIGHEST))
        assert (best.power.note == AT_AN_END) == at_an_end
        assert best.low.value <= best.power.value <= best.high.value
        for edge in (best.low, best.high):
            if edge.note == AS_FAR:
                assert at(edge.value) >= best.fit.value - CLOSE - 1e-9
            else:
                assert at(edge.value) == pytest.approx(best.fit.value - CLOSE, abs=1e-3)


@pytest.mark.parametrize("power", [0.2, 1 / 3, 1.0, 2.0])
def test_a_layer_that_is_a_power_of_its_agop_is_found(power: float) -> None:
    """W = U diag(s) V^T and K = U diag(s^(2/power - 2)) U^T: F = G^power."""
    values = torch.tensor([0.3, 0.7, 1.0, 1.6, 2.5], dtype=torch.float64)
    left = haar(8, torch.Generator().manual_seed(0))[:, :5]
    right = haar(11, torch.Generator().manual_seed(1))[:, :5]
    for scale in (1e-6, 1.0, 1e6):
        covariance = scale * (left * values ** (2 / power - 2)) @ left.T
        for best in best_powers(decomposed((left * values) @ right.T, covariance)).values():
            assert best.power.value == pytest.approx(power, rel=1e-4)
            assert best.fit.value == pytest.approx(1.0, abs=1e-9)


def test_where_all_powers_are_alike_there_is_no_best_one() -> None:
    weight = haar(6, torch.Generator().manual_seed(0))[:3]
    for covariance in (torch.eye(3, dtype=torch.float64), torch.ones(3, 3, dtype=torch.float64)):
        for best in best_powers(decomposed(weight, covariance)).values():
            assert math.isnan(best.power.value)
            assert "alike" in best.power.note
    for best in best_powers(decomposed(weight, torch.zeros(3, 3, dtype=torch.float64))).values():
        assert math.isnan(best.fit.value)
        assert best.fit.note == "the matrix compared with the NFM is zero"
