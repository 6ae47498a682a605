"""Kernel alignment, scatter and recovery against dense matrices and known values."""

import numpy as np
import pytest

from nfa.data.chain_monomial import ChainMonomial, load, target
from nfa.data.options import gradient_products
from nfa.features import kernel_alignment, metric_correlation, metric_factor, recovery, scatter_ratio


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two matrices."""
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("m", [5, 60])
def test_kernel_alignment_is_the_cosine_of_the_kernels(m: int) -> None:
    draw = np.random.default_rng(0)
    phi, y = draw.normal(size=(30, m)) + 1, draw.normal(size=(30, 2)) - 0.3
    plain, centred = kernel_alignment(phi, y)
    assert plain == pytest.approx(cosine(phi @ phi.T, y @ y.T))
    h = np.eye(30) - 1 / 30
    assert centred == pytest.approx(cosine(h @ phi @ phi.T @ h, h @ y @ y.T @ h))
    assert kernel_alignment(y, y) == pytest.approx((1, 1))
    rotation, _ = np.linalg.qr(draw.normal(size=(m, m)))
    assert kernel_alignment(1e90 * phi @ rotation, y) == pytest.approx((plain, centred))


def test_kernel_alignment_of_one_output_is_the_papers_formula() -> None:
    draw = np.random.default_rng(0)
    phi, y = draw.normal(size=(30, 4)), draw.normal(size=(30, 1))
    kernel = phi @ phi.T
    expected = (y.T @ kernel @ y).item() / (np.linalg.norm(kernel) * (y.T @ y).item())
    assert kernel_alignment(phi, y)[0] == pytest.approx(expected)


def test_what_vanishes_has_no_alignment() -> None:
    assert np.isnan(kernel_alignment(np.zeros((5, 2)), np.ones((5, 1)))).all()
    assert np.isnan(kernel_alignment(np.ones((5, 2)), np.arange(5.0)[:, None])[1])
    dead = np.tile(np.random.default_rng(0).normal(size=7).astype(np.float32).astype(float), (100, 1))  # biases alone
    plain, centred = kernel_alignment(dead, np.random.default_rng(1).normal(size=(100, 2)))
    assert plain > 0
    assert np.isnan(centred)
    assert np.isnan(kernel_alignment(np.array([[1.0], [np.inf]]), np.ones((2, 1)))).all()


def test_scatter_is_the_ratio_of_traces_and_changes_neither_with_scale_nor_rotation() -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 60) * 7
    phi = draw.normal(size=(60, 4)) + labels[:, None]
    total = np.cov(phi.T, bias=True)
    within = sum(np.cov(phi[labels == c].T, bias=True) * (labels == c).mean() for c in np.unique(labels))
    expected = np.trace(within) / np.trace(total - within)
    rotation, _ = np.linalg.qr(draw.normal(size=(4, 4)))
    assert scatter_ratio(phi, labels) == pytest.approx(expected)
    assert scatter_ratio(3 * phi @ rotation + 5, labels) == pytest.approx(expected)
    assert np.isnan(scatter_ratio(np.ones((6, 2)), np.arange(6) % 2))
    assert scatter_ratio(labels[:, None].astype(float), labels) == 0
    assert np.isnan(scatter_ratio(phi, np.zeros(60)))  # one class


def test_recovery_agrees_with_dense_matrices() -> None:
    draw = np.random.default_rng(0)
    weight, half, inner = draw.normal(size=(6, 9)), draw.normal(size=(6, 6)), draw.normal(size=(3, 3))
    directions, _ = np.linalg.qr(draw.normal(size=(9, 3)))
    covariance, truth = half @ half.T, inner @ inner.T
    found = recovery(metric_factor(weight, covariance), directions, truth)
    agop = weight.T @ covariance @ weight
    leading = np.linalg.eigh(agop)[1][:, -3:]
    assert found["trace_share"] == pytest.approx(np.trace(directions.T @ agop @ directions) / np.trace(agop))
    assert found["overlap"] == pytest.approx(np.square(leading.T @ directions).sum() / 3)
    assert found["target_correlation"] == pytest.approx(cosine(agop, directions @ truth @ directions.T))
    assert metric_correlation(weight, half @ weight) == pytest.approx(
        cosine(weight.T @ weight, weight.T @ half.T @ half @ weight)
    )
    assert metric_correlation(weight, None) == pytest.approx(cosine(weight.T @ weight, np.eye(9)))


def test_recovery_where_the_answer_is_known() -> None:
    draw = np.random.default_rng(0)
    directions, _ = np.linalg.qr(draw.normal(size=(12, 3)))
    exact = recovery(directions.T, directions, np.eye(3))
    assert list(exact.values()) == pytest.approx([1, 1, 1])
    nothing = recovery(np.eye(12), directions)
    assert nothing["trace_share"] == pytest.approx(3 / 12)
    assert np.isnan(recovery(np.zeros((4, 12)), directions)["trace_share"])
    assert np.isnan(recovery(draw.normal(size=(2, 12)), directions)["overlap"])  # of rank 2: no three leading vectors


def test_the_targets_own_agop_of_the_chain() -> None:
    """E g g^T of g_i = (x_(i-1) + x_(i+1)) / sqrt r: 2/r on the diagonal, 1/r two apart on the ring."""
    rank, z = 7, np.random.default_rng(0).normal(size=(20_000, 7))
    ring = np.roll(np.eye(rank), 1, axis=0)
    expected = (2 * np.eye(rank) + ring @ ring + (ring @ ring).T) / rank
    np.testing.assert_allclose(gradient_products(lambda x: target(x, rank), z), expected, atol=0.02)


def test_the_targets_agop_follows_standardised_inputs() -> None:
    plain = load(ChainMonomial(dim=8, rank=4), np.random.default_rng(0))
    scaled = load(ChainMonomial(dim=8, rank=4, standardise="per_feature"), np.random.default_rng(0))
    assert plain.target_agop is not None
    assert scaled.target_agop is not None
    assert plain.directions is not None
    assert scaled.directions is not None
    deviation = plain.x_train.std(axis=0)
    whole = np.diag(deviation) @ plain.directions @ plain.target_agop @ plain.directions.T @ np.diag(deviation)
    found = scaled.directions @ scaled.target_agop @ scaled.directions.T
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)
