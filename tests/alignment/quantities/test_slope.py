"""The slope of K's spectrum against that of W: known exponents, ties, and cases without a slope."""

import pytest
import torch
from torch import Tensor

from nfa.alignment import measure
from nfa.alignment.quantities import slope as slope_module
from nfa.alignment.quantities.agop import Agop, Middle
from nfa.alignment.quantities.best_power import best_powers
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.rotations import haar
from nfa.alignment.quantities.slope import spectrum_slope
from nfa.alignment.quantities.split import LeftBasis, tie_width
from tests.alignment.comparing import note_of, value_of
from tests.alignment.quantities.drawing import DOUBLE, generator
from tests.alignment.quantities.test_known_answers import balanced_network, draw

SLOPE, R2 = ("spectrum_slope", None, None), ("spectrum_slope_r2", None, None)


def of_weights(text: str) -> str:
    """A reason, about the weights."""
    return text.format(matrix="W")


def power_of_gram(weight: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(weight @ weight.T)
    power: Tensor = 3 * (vectors * values**exponent) @ vectors.T
    return power


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0, -0.5])
def test_a_power_of_the_gram_matrix(exponent: float) -> None:
    """K = c (W W^T)^p: the slope is p, and the power that fits best is 1 / (1 + p)."""
    weight = torch.randn(5, 9, dtype=torch.float64, generator=generator(0))
    covariance = power_of_gram(weight, exponent)
    features = FeatureMatrix(weight)
    basis = LeftBasis(features, tie_width(weight))
    found = spectrum_slope(basis.strengths[0], basis.turned(covariance)[0].diagonal())
    assert found.slope.value == pytest.approx(exponent, abs=1e-10)
    assert found.error.value == pytest.approx(0, abs=1e-10)
    if exponent:
        assert found.r2.value == pytest.approx(1.0, abs=1e-10)
    best = best_powers(Agop.of(features, Middle(covariance, DOUBLE)))["cosine"].power.value
    assert best == pytest.approx(1 / (1 + exponent), rel=1e-4)


def test_balanced_deep_linear_networks_have_the_depth_left() -> None:
    """The depth law: p = L - l at layer l of L."""
    table = measure(balanced_network([7, 6, 8, 5], 0.8, seed=2), draw(10, 7))
    for layer, exponent in (("0", 2), ("1", 1), ("2", 0)):
        assert value_of(table, SLOPE, layer) == pytest.approx(exponent, abs=1e-8)
    assert value_of(table, R2, "0") == pytest.approx(1.0, abs=1e-8)


def test_weights_and_error_by_hand() -> None:
    """Three directions; the strongest two decide, by their weights a^2."""
    strengths = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    kappa = torch.tensor([5.0, 1.0, 3.0], dtype=torch.float64)
    weights = (strengths**2 / 21).numpy()
    x, y = strengths.log().numpy(), kappa.log().numpy()
    x, y = x - (weights * x).sum(), y - (weights * y).sum()
    spread = (weights * x * x).sum()
    expected = (weights * x * y).sum() / spread
    rest = y - expected * x
    found = spectrum_slope(strengths, kappa)
    assert found.slope.value == pytest.approx(expected, abs=1e-12)
    assert found.error.value == pytest.approx((3 * (weights**2 * x**2 * rest**2).sum()) ** 0.5 / spread, abs=1e-12)
    assert found.r2.value == pytest.approx(1 - (weights * rest**2).sum() / (weights * y * y).sum(), abs=1e-12)


def test_directions_among_equal_singular_values_are_those_of_k() -> None:
    left = haar(3, generator(1))
    weight = (left * torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64)) @ haar(3, generator(2)).T
    kappa = torch.tensor([4.0, 7.0, 1.0], dtype=torch.float64)
    turn = torch.block_diag(haar(2, generator(3)), torch.ones(1, 1, dtype=torch.float64))
    covariance = left @ turn @ kappa.diag() @ turn.T @ left.T
    found = LeftBasis(FeatureMatrix(weight), tie_width(weight)).turned(covariance)[0]
    assert found.diagonal().sort().values.tolist() == pytest.approx([1.0, 4.0, 7.0], abs=1e-10)
    assert (found - found.diagonal().diag()).abs().max() < 1e-10


def test_no_slope() -> None:
    two = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert spectrum_slope(two, two).error.note == slope_module.TWO_DIRECTIONS
    assert spectrum_slope(torch.ones(3).double(), two[[0, 1, 1]]).slope.note == of_weights(slope_module.ONE_STRENGTH)
    assert spectrum_slope(two, torch.tensor([1.0, 0.0]).double()).slope.note == of_weights(slope_module.K_VANISHES)
    assert spectrum_slope(two, torch.ones(2).double()).r2.note == of_weights(slope_module.NO_VARIATION)


def test_a_direction_that_the_network_does_not_use_is_named() -> None:
    """The readout ignores the unit with the strongest weights, so K is zero there."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 2, bias=False)).double()
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(torch.diag(torch.tensor([3.0, 2.0, 1.0])))
        model.get_parameter("1.weight").copy_(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]]))
    inputs = torch.randn(20, 3, dtype=torch.float64, generator=generator(4))
    assert note_of(measure(model, inputs), "spectrum_slope", "0") == of_weights(slope_module.K_VANISHES)
    with torch.no_grad():
        model.get_parameter("1.weight")[0, 0] = 1.0
    assert value_of(measure(model, inputs), SLOPE, "0") < 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_values_that_are_equal_to_rounding_have_no_slope(dtype: torch.dtype) -> None:
    """An orthogonal W has one singular value; rounding parts them, which made a slope of 6e6 in float32."""
    first = torch.nn.Linear(20, 20)
    model = torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Linear(20, 3)).to(dtype)
    source = torch.Generator().manual_seed(0)
    torch.nn.init.orthogonal_(first.weight, generator=source)
    table = measure(model, torch.randn(50, 20, dtype=dtype, generator=source), layers=["0"])
    rows = table[table["quantity"].str.startswith("spectrum_slope")]
    assert len(rows) == 3
    assert rows["value"].isna().all()
    assert rows["note"].str.startswith("the singular values of W are equal").all()
