"""The change of the weights and the velocities at step 0 compared with K: known answers, rank, rounding, reasons."""

import math

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import CORRELATIONS, correlations, measure
from nfa.alignment.quantities import slope as slope_module
from nfa.alignment.quantities.correlation import NFM_ZERO
from nfa.alignment.quantities.evaluate import quantity_values
from nfa.alignment.quantities.layer import GRADIENT_FLOW, Reference
from nfa.alignment.quantities.rotations import haar
from nfa.alignment.quantities.subject import FIRST_UPDATE
from nfa.alignment.quantities.values import Value
from tests.alignment.comparing import note_of, value_of
from tests.alignment.networks import squared_error
from tests.alignment.quantities.drawing import draw_pair, generator, layer_of
from tests.alignment.quantities.test_known_answers import balanced_network, draw

SLOPE, ERROR, R2 = (f"c_spectrum_slope{end}" for end in ("", "_error", "_r2"))


def number(found: dict[str, dict[tuple[str | None, str | None], Value]], quantity: str) -> Value:
    return found[quantity][None, None]


@pytest.mark.parametrize("exponent", [0.5, 2.0, -1.0])
@pytest.mark.parametrize("at_start", [False, True])
def test_a_change_along_eigenvectors_of_k(exponent: float, at_start: bool) -> None:
    """K = (V V^T)^p for the change alone: the slope is p, left NFC is that of two spectra, and W has no part in it."""
    left, right = haar(5, generator(0)), haar(5, generator(1))
    strengths = torch.linspace(1, 3, 5, dtype=torch.float64)
    v = 1e-3 * (left * strengths.sqrt()) @ right.T
    layer = layer_of(draw(5, 5, seed=2), (left * strengths**exponent) @ left.T)
    start = layer.weight if at_start else layer.weight - v
    found = quantity_values(layer, Reference(initial_weight=start, gradient=-v, update=2 * v), 0)
    for suffix, limit in (("", GRADIENT_FLOW), ("_update", FIRST_UPDATE))[: 1 + at_start]:
        slope = found[f"c_spectrum_slope{suffix}"][None, None]
        assert slope.value == pytest.approx(exponent, abs=1e-9)
        assert slope.note == (limit if at_start else "")
        assert number(found, f"c_spectrum_slope{suffix}_error").value == pytest.approx(0, abs=1e-9)
        assert number(found, f"c_spectrum_slope{suffix}_r2").value == pytest.approx(1, abs=1e-9)
        expected = float(strengths @ strengths**exponent / strengths.norm() / (strengths**exponent).norm())
        assert found[f"c_left_nfc{suffix}"]["cosine", None].value == pytest.approx(expected, abs=1e-9)
    assert number(found, "spectrum_slope").value != pytest.approx(exponent, abs=0.1)


def test_balanced_deep_linear_networks_move_along_their_depth_law() -> None:
    """White inputs, and a network that computes a third of what it is to learn.

    With singular values s of each of L layers, the gradient has s^(L - 1) s^L at every layer, and K has s^(2 L - 2 l).
    """
    model = balanced_network([7, 6, 8, 5], 0.8, seed=0)
    inputs = math.sqrt(40) * torch.linalg.qr(draw(40, 7)).Q
    with torch.no_grad():
        targets = 3 * model(inputs)
    table = measure(model, inputs, targets=targets, loss=squared_error, initial=model)
    singular = torch.linalg.svdvals(model.get_parameter("2.weight").detach())
    for index, layer in enumerate("012"):
        assert value_of(table, (SLOPE, None, None), layer) == pytest.approx((2 - index) / 5, abs=1e-8)
        strengths, kappa = singular**10, singular ** (4 - 2 * index)
        of_k = torch.zeros(len(model.get_parameter(f"{layer}.weight")), dtype=torch.float64)
        of_k[:5] = kappa
        expected = float(strengths @ kappa / strengths.norm() / of_k.norm())
        assert value_of(table, ("c_left_nfc", "cosine", None), layer) == pytest.approx(expected, abs=1e-8)


def test_the_left_nfc_with_the_identity() -> None:
    """K = 1: the correlation is tr(V V^T) / (|V V^T| sqrt k), and no rotation of K changes it."""
    v = draw(4, 6, seed=1)
    layer = layer_of(draw(4, 6), torch.eye(4, dtype=torch.float64))
    found = quantity_values(layer, Reference(initial_weight=layer.weight - v), 0)
    gram = v @ v.T
    assert found["c_left_nfc"]["cosine", None].value == pytest.approx(float(gram.trace() / gram.norm() / 2), abs=1e-12)
    assert "no rotation" in found["c_left_nfc_haar"]["cosine", None].note


def test_blocks_of_a_grouped_layer() -> None:
    """W is block-diagonal, and so is its change: only the entries within blocks are correlated."""
    v, weight = draw(2, 3, 4, seed=1), draw(2, 3, 4)
    covariance = torch.stack([draw_pair((3, 4), 3, seed)[1] for seed in (1, 2)])
    found = quantity_values(layer_of(weight, covariance), Reference(initial_weight=weight - v), 0)
    gram = v @ v.mT
    cosine = float((gram * covariance).sum() / gram.norm() / covariance.norm())
    assert found["c_left_nfc"]["cosine", None].value == pytest.approx(cosine, abs=1e-12)


def networks(dtype: torch.dtype) -> tuple[nn.Sequential, nn.Sequential, Tensor, Tensor]:
    """A network, the same after some change of every weight, inputs and targets."""
    start, moved = (
        nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 3)).double()
        for _ in range(2)
    )
    with torch.no_grad():
        for number, (first, second) in enumerate(zip(start.parameters(), moved.parameters(), strict=True)):
            first.copy_(0.5 * torch.randn(first.shape, generator=generator(number)).half())
            second.copy_(first + 0.1 * torch.randn(first.shape, generator=generator(number + 10)).half())
    inputs, targets = (torch.randn(40, d, generator=generator(20 + d)) for d in (6, 3))
    return start.to(dtype), moved.to(dtype), inputs.to(dtype), targets.to(dtype)


def test_single_precision_agrees() -> None:
    tables = []
    for dtype in (torch.float64, torch.float32):
        start, moved, inputs, targets = networks(dtype)
        updates = {layer: torch.ones_like(start.get_parameter(f"{layer}.weight")) for layer in "024"}
        for layer, update in updates.items():
            update.copy_(torch.randn(update.shape, generator=generator(int(layer))))
        tables.append(
            (
                measure(moved, inputs, initial=start),
                measure(start, inputs, targets=targets, loss=squared_error, initial=start, updates=updates),
            )
        )
    for double, single in zip(*tables, strict=True):
        new = double.quantity.str.contains("^c_(?:left|permuted|spectrum)")
        assert new.sum() >= 3 * 15
        off = (double[new].value - single[new].value).abs()
        assert off.max() < 1e-4, double[new][off > 1e-4]
        assert (double[new].value.isna() == single[new].value.isna()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_direction_has_no_slope(dtype: torch.dtype) -> None:
    """With one output a linear network moves along one direction; rounding adds others, along which K is arbitrary.

    After a step these are rounding of W, which is large beside the change.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12, bias=False), nn.Linear(12, 1, bias=False)).to(dtype)
    inputs, targets = torch.randn(50, 8, dtype=dtype), torch.randn(50, 1, dtype=dtype)
    moved = nn.Sequential(nn.Linear(8, 12, bias=False), nn.Linear(12, 1, bias=False)).to(dtype)
    moved.load_state_dict(model.state_dict())
    squared_error(moved(inputs), targets).sum().backward()
    torch.optim.SGD(moved.parameters(), 1e-4).step()
    limit = measure(model, inputs, targets=targets, loss=squared_error, initial=model)
    after = measure(moved, inputs, initial=model)
    assert note_of(limit, SLOPE, "0") == f"{GRADIENT_FLOW}: " + slope_module.ONE_DIRECTION.format(matrix="the velocity")
    assert note_of(after, SLOPE, "0") == slope_module.ONE_DIRECTION.format(matrix="W - W0")
    for table in (limit, after):
        assert value_of(table, ("c_left_nfc", "cosine", None), "0") == pytest.approx(1.0, abs=1e-5)


def test_a_change_of_rank_two_has_a_slope_without_an_error() -> None:
    """Rounding of W adds directions that a line must not count."""
    weight = draw(6, 9).float()
    step = 1e-3 * draw(6, 2, seed=1) @ draw(2, 9, seed=2)
    now = (weight.double() + step).float()
    _, covariance = draw_pair((6, 9), 6, 3)
    found = quantity_values(layer_of(now, covariance), Reference(initial_weight=weight.double()), 0)
    assert math.isfinite(number(found, SLOPE).value)
    assert number(found, ERROR).note == slope_module.TWO_DIRECTIONS


def test_a_change_below_the_rounding_of_a_large_singular_value_has_no_slope() -> None:
    """Every entry moves by two digits, yet W's largest singular value is rounded by more."""
    weight = torch.ones(6, 4)
    now = weight + 2.0**-22 * draw(6, 4).sign().float()
    _, covariance = draw_pair((6, 4), 6, 3)
    found = quantity_values(layer_of(now, covariance), Reference(initial_weight=weight.double()), 0)
    assert number(found, SLOPE).note == slope_module.BELOW_ROUNDING
    assert math.isfinite(found["c_left_nfc"]["cosine", None].value)


def test_equal_singular_values_of_a_velocity_have_no_slope() -> None:
    """Muon's first update is orthogonal; in float32, rounding parts its singular values."""
    weight, covariance = draw_pair((5, 7), 5, 0)
    layer = layer_of(weight.float(), covariance)
    update = haar(7, generator(1))[:5].float().double()
    found = quantity_values(layer, Reference(initial_weight=layer.weight, update=update), 0)
    slope = number(found, "c_spectrum_slope_update")
    assert slope.note == f"{FIRST_UPDATE}: " + slope_module.ONE_STRENGTH.format(matrix="the velocity")
    expected = correlations(torch.eye(5, dtype=torch.float64), covariance)["cosine"].value
    assert found["c_left_nfc_update"]["cosine", None].value == pytest.approx(expected, abs=1e-6)
    assert found["c_left_nfc_update_haar"]["cosine", None].note.startswith(FIRST_UPDATE)


def test_k_that_vanishes_along_the_change_is_named() -> None:
    weight, v = draw(3, 5), torch.tensor([3.0, 2.0, 1.0]).double().diag() @ haar(5, generator(1))[:3]
    covariance = torch.diag(torch.tensor([0.0, 1.0, 2.0])).double()
    found = quantity_values(layer_of(weight, covariance), Reference(initial_weight=weight - v), 0)
    assert number(found, SLOPE).note == slope_module.K_VANISHES.format(matrix="W - W0")


def test_without_a_change_every_number_has_the_reason() -> None:
    weight, covariance = draw_pair((4, 5), 4, 0)
    layer = layer_of(weight, covariance)
    for reference, note in (
        (Reference(), "no initial weights given"),
        (Reference(initial_weight=weight), "W equals W0 and no gradient given"),
        (Reference(initial_weight=weight, gradient=torch.zeros_like(weight)), GRADIENT_FLOW + ": {}"),
    ):
        found = quantity_values(layer, reference, 0)
        for quantity in (SLOPE, ERROR, R2, "c_left_nfc", "c_left_nfc_haar", "c_left_nfc_haar_sd", "c_permuted_nfc"):
            expected = note.format(slope_module.NO_WEIGHT if "spectrum" in quantity else NFM_ZERO)
            assert {value.note for value in found[quantity].values()} == {expected}
            assert all(math.isnan(value.value) for value in found[quantity].values())
    assert not any(name.endswith("_update") for name in found)
    assert set(CORRELATIONS) == {correlation for correlation, _ in found["c_left_nfc"]}
