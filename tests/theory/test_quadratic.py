"""C-NFC(0+) of quadratic networks against measurement by autograd, averages over draws, and known values."""

import numpy as np
import pytest
import torch
from torch import nn

from nfa.alignment import measure
from nfa.data.alignment_reversing import variances
from nfa.models.initialise import Quadratic
from nfa.theory import (
    chain_population,
    data_matrices,
    early_dynamics,
    finite_width,
    infinite_width,
    network_value,
    reversing_population,
)
from nfa.theory.quadratic import moments_of


def half_squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().mean() / 2


def drawn(k: int, d: int, n: int) -> tuple[np.ndarray, ...]:
    """Draw x (n, d), y (n,), W (k, d), a (k,)."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((n, d)) * np.linspace(0.5, 2, d)
    y = x[:, 0] * x[:, 1] + 0.5 * x[:, 2] ** 2
    return x, y, generator.standard_normal((k, d)) / np.sqrt(d), generator.standard_normal(k)


def as_network(weights: np.ndarray, readout: np.ndarray) -> nn.Sequential:
    k, d = weights.shape
    model = nn.Sequential(nn.Linear(d, k, bias=False), Quadratic(), nn.Linear(k, 1, bias=False)).double()
    model.load_state_dict({"0.weight": torch.from_numpy(weights), "2.weight": torch.from_numpy(readout[None])})
    return model


@pytest.mark.parametrize(("k", "d"), [(7, 5), (4, 6)])
def test_one_network_is_what_autograd_measures(k: int, d: int) -> None:
    x, y, weights, readout = drawn(k, d, 60)
    model = as_network(weights, readout)
    inputs = torch.from_numpy(x)
    with torch.no_grad():  # targets y + f, so that the residual is -y exactly
        targets = model(inputs) + torch.from_numpy(y)[:, None]
    expected = network_value(*data_matrices(x, y), weights, readout)

    table = measure(model, inputs, targets=targets, loss=half_squared_error, initial=model)
    limit = table.query("layer == '0' and quantity == 'c_nfc' and power == '1'").set_index("correlation")["value"]
    for name, value in expected.items():
        assert limit[name] == pytest.approx(value.value, abs=1e-9), name

    model[2].weight.requires_grad_(False)
    early = early_dynamics(model, inputs, targets, half_squared_error, times=[1e-3])
    leading = early.query("layer == '0' and source == 'leading' and quantity == 'c_nfc'")
    for row in leading.itertuples():
        assert row.value == pytest.approx(expected[str(row.correlation)].value, abs=1e-9)


def test_a_small_network_has_the_residual_minus_y() -> None:
    x, y, weights, readout = drawn(6, 5, 80)
    model = as_network(weights, 1e-7 * readout)
    targets = torch.from_numpy(y)[:, None]
    table = measure(model, torch.from_numpy(x), targets=targets, loss="mse", initial=model)
    limit = table.query("layer == '0' and quantity == 'c_nfc' and power == '1' and correlation == 'cosine'")
    expected = network_value(*data_matrices(x, y), weights, readout)["cosine"].value
    assert limit["value"].item() == pytest.approx(expected, abs=1e-5)


def test_white_inputs_align_perfectly_at_infinite_width() -> None:
    target, covariance = chain_population(np.ones(12), 5)
    for value in infinite_width(target, 3 * covariance).values():
        assert value.value == pytest.approx(1, abs=1e-12)


def test_finite_width_goes_to_infinite_width_and_pearson_too() -> None:
    target, covariance = reversing_population(variances(32, 2.0), 0.5)
    wide, limit = finite_width(target, covariance, 10**9), infinite_width(target, covariance)
    for name in ("cosine", "pearson"):
        assert wide[name].value == pytest.approx(limit[name].value, abs=1e-6)
    assert np.isnan(wide["offdiagonal"].value)
    assert "off-diagonal" in wide["offdiagonal"].note


def test_scales_cancel() -> None:
    x, y, weights, readout = drawn(8, 6, 50)
    target, covariance = data_matrices(x, y)
    one = finite_width(target, covariance, 8, moments_of(readout))
    other = finite_width(5 * target, 0.1 * covariance, 8, moments_of(30 * readout))
    drawn_one = network_value(target, covariance, weights, readout)
    drawn_other = network_value(5 * target, 0.1 * covariance, 7 * weights, 30 * readout)
    for name in ("cosine", "pearson"):
        assert other[name].value == pytest.approx(one[name].value, rel=1e-12)
        assert drawn_other[name].value == pytest.approx(drawn_one[name].value, rel=1e-12)


@pytest.mark.parametrize("k", [64, 256])
def test_free_probability_agrees_with_drawn_networks(k: int) -> None:
    """Monte Carlo, d = 128, 40 draws of W, a = +-1: cosine and pearson within .01 (standard error below .002)."""
    d, generator = 128, np.random.default_rng(4)
    # Targets of full rank that favour one sign, so that mean entries matter and pearson differs from cosine.
    basis = np.linalg.qr(generator.standard_normal((d, d)))[0]
    target = basis @ np.diag(np.linspace(-0.5, 1.5, d)) @ basis.T + 0.04 * np.ones((d, d))
    covariance = np.diag(np.linspace(0.2, 3.0, d)) + 0.01 * np.ones((d, d))
    predicted = finite_width(target, covariance, k, (1.0, 1.0, 1.0, 1.0))
    values = [
        network_value(target, covariance, generator.standard_normal((k, d)) / np.sqrt(d), np.ones(k)) for _ in range(40)
    ]
    assert abs(predicted["cosine"].value - predicted["pearson"].value) > 0.02
    for name in ("cosine", "pearson"):
        assert np.mean([value[name].value for value in values]) == pytest.approx(predicted[name].value, abs=0.01)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_populations_are_what_many_samples_give(alpha: float) -> None:
    """Of 400,000 samples, entries of R and S within .02, five standard errors."""
    generator = np.random.default_rng(5)
    spread = np.arange(1.0, 7) ** -alpha
    x = generator.standard_normal((400_000, 6)) * np.sqrt(spread)
    y = (x[:, :4] * np.roll(x[:, :4], -1, axis=1)).sum(1) / 2
    for found, expected in zip(data_matrices(x, y), chain_population(spread, 4), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.02)

    both = variances(6, 1.0) / 10
    second = generator.random(400_000) < 0.3
    x = generator.standard_normal((400_000, 6)) * np.sqrt(both)[second.astype(int)]
    for found, expected in zip(data_matrices(x, 1.0 - second), reversing_population(both, 0.3), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.02)


def test_inputs_are_left_as_they_were() -> None:
    x, y, weights, readout = drawn(5, 4, 30)
    copies = [array.copy() for array in (x, y, weights, readout)]
    target, covariance = data_matrices(x, y)
    network_value(target, covariance, weights, readout)
    finite_width(target, covariance, 5, moments_of(readout))
    for array, copy in zip((x, y, weights, readout), copies, strict=True):
        assert np.array_equal(array, copy)


def test_a_target_that_never_varies_is_undefined() -> None:
    zero = np.zeros((4, 4))
    for found in (infinite_width(zero, np.eye(4)), finite_width(zero, np.eye(4), 8)):
        assert np.isnan(found["cosine"].value)
        assert found["cosine"].note
