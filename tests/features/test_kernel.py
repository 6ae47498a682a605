"""Kernel machines against plain dense code; the recursive feature machine against autograd and a known metric."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from nfa.data.chain_monomial import target
from nfa.features import Split, kernel_machine, metric_factor, recursive_feature_machine
from nfa.features.kernel import MULTIPLES, RIDGES, choose, distances, laplace, solve
from nfa.features.rfm import next_factor


def chain(n: int, d: int = 10, rank: int = 3, seed: int = 0) -> Split:
    """Samples of the chain monomial."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    return Split(x, target(x, rank), None)


def predictor(train: Split, metric: np.ndarray, bandwidth: float, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and coefficients of the kernel machine, by scipy's distances and numpy's solver."""
    distance = cdist(train.features, train.features, "mahalanobis", VI=metric)
    mean = train.targets.mean(0)
    kernel = np.exp(-distance / bandwidth) + ridge * np.eye(len(distance))
    return mean, np.linalg.solve(kernel, train.targets - mean)


def test_scores_are_those_of_the_dense_metric() -> None:
    train, test = chain(80), chain(50, seed=1)
    draw = np.random.default_rng(2)
    weight, half = draw.normal(size=(4, 10)), draw.normal(size=(4, 4))
    covariance = half @ half.T
    found = kernel_machine(train, test, metric_factor(weight, covariance))
    metric = weight.T @ covariance @ weight
    metric *= 10 / np.trace(metric)
    mean, alpha = predictor(train, metric, found.bandwidth, found.ridge)
    kernel = np.exp(-cdist(test.features, train.features, "mahalanobis", VI=metric) / found.bandwidth)
    residual = np.square(kernel @ alpha + mean - test.targets).sum()
    expected = 1 - residual / np.square(test.targets - test.targets.mean()).sum()
    assert found.test == pytest.approx(expected, abs=1e-9)
    median = np.median(cdist(train.features[:64], train.features[:64], "mahalanobis", VI=metric))
    assert found.bandwidth / median == pytest.approx(min(MULTIPLES, key=lambda m: abs(m - found.bandwidth / median)))


def test_the_factor_is_trace_normalised_and_its_scale_changes_no_score() -> None:
    train, test = chain(60), chain(40, seed=1)
    weight = np.random.default_rng(2).normal(size=(4, 10))
    assert np.square(metric_factor(weight)).sum() == pytest.approx(10)
    np.testing.assert_allclose(metric_factor(1e-5 * weight), metric_factor(weight))
    plain, scaled = kernel_machine(train, test, weight), kernel_machine(train, test, 100 * weight)
    assert plain.test == pytest.approx(scaled.test)
    assert scaled.bandwidth == pytest.approx(100 * plain.bandwidth)


def test_a_rotation_of_the_inputs_changes_no_score_with_metric_i() -> None:
    train, test = chain(60), chain(40, seed=1)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(10, 10)))
    turned = kernel_machine(train.of(train.features @ rotation), test.of(test.features @ rotation))
    assert turned == pytest.approx(kernel_machine(train, test))


def test_test_samples_choose_nothing() -> None:
    train, test = chain(60), chain(40, seed=1)
    other = Split(2 * test.features, -test.targets, None)
    found, again = kernel_machine(train, test), kernel_machine(train, other)
    assert (found.bandwidth, found.train) == (again.bandwidth, again.train)
    assert found.test != again.test
    first, second = (recursive_feature_machine(train, part) for part in (test, other))
    assert (first.bandwidth, first.iteration, first.train) == (second.bandwidth, second.iteration, second.train)
    assert first.factor is not None
    assert second.factor is not None
    np.testing.assert_array_equal(first.factor, second.factor)


def test_an_output_that_validation_lacks_leaves_the_choice_to_the_others() -> None:
    train = chain(60)
    still = np.zeros((60, 1))
    still[:48:3] = 1e-3  # small, so that its own fit changes nothing; constant on the last fifth
    both = Split(train.features, np.hstack([train.targets, still]), None)
    within = distances(train.features, train.features)
    assert choose(within, both) == pytest.approx(choose(within, train))


def test_distances_far_from_the_origin_and_of_many_columns() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(30, 5)) + 1e4
    np.testing.assert_allclose(distances(x, x), cdist(x, x), atol=1e-6)
    a, b = (draw.normal(size=(n, 9000)).astype(np.float32) for n in (7, 4))
    np.testing.assert_allclose(distances(a, b), cdist(a, b), rtol=1e-12)


def test_gradients_agree_with_autograd() -> None:
    train = chain(25, d=6)
    targets = np.hstack([train.targets, train.features[:, :1] ** 2])
    factor, bandwidth = np.random.default_rng(3).normal(size=(4, 6)), 2.5
    metric = factor.T @ factor
    distance = distances(train.features @ factor.T, train.features @ factor.T)
    np.fill_diagonal(distance, 0)
    _, alpha = solve(laplace(distance, bandwidth), targets, RIDGES[0])
    x, m = torch.from_numpy(train.features), torch.from_numpy(metric)
    total = torch.zeros(6, 6, dtype=torch.float64)
    for i in range(25):

        def f(point: torch.Tensor, i: int = i) -> torch.Tensor:
            others = [j for j in range(25) if j != i]  # the term with x = x_j has no gradient, and counts as 0
            offset = point - x[others]
            distance = ((offset @ m) * offset).sum(1).sqrt()
            return torch.exp(-distance / bandwidth) @ torch.from_numpy(alpha)[others]

        jacobian = torch.autograd.functional.jacobian(f, x[i])
        total += jacobian.T @ jacobian / 25
    found = next_factor(train.features, distance, alpha, bandwidth, factor)
    np.testing.assert_allclose(found.T @ found, total * 6 / total.trace(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("d", [6, 40], ids=["fewer inputs", "fewer samples"])
def test_both_forms_of_the_first_iteration_agree(d: int) -> None:
    """Inputs padded with zeros take the form for fewer samples than inputs, and give the same scores."""
    x = chain(25, d=6).features
    padded = np.hstack([x, np.zeros((25, d - 6))])
    distance = distances(x, x)
    alpha = np.random.default_rng(0).normal(size=(25, 2))
    found = next_factor(padded, distance, alpha, 2.0, None)
    assert found.shape == (min(25, d), d)
    assert np.square(found).sum() == pytest.approx(d)
    narrow = next_factor(x, distance, alpha, 2.0, None)
    expected = np.zeros((d, d))
    expected[:6, :6] = narrow.T @ narrow * d / 6
    np.testing.assert_allclose(found.T @ found, expected, atol=1e-10)


def test_one_iteration_is_plain_code() -> None:
    train, test = chain(50), chain(30, seed=1)
    x, y = train.features[:40], train.targets[:40]
    bandwidth, ridge, _ = choose(distances(train.features, train.features), train)
    mean, alpha = predictor(Split(x, y, None), np.eye(10), bandwidth, ridge)
    assert mean.shape == (1,)
    metric = np.zeros((10, 10))
    for point in x:
        gradient = np.zeros(10)
        for centre, coefficient in zip(x, alpha[:, 0], strict=True):
            apart = np.linalg.norm(point - centre)
            if apart > 0:
                gradient -= coefficient * np.exp(-apart / bandwidth) * (point - centre) / (apart * bandwidth)
        metric += np.outer(gradient, gradient) / 40
    machine = recursive_feature_machine(train, test, iterations=1)
    assert machine.iteration == 1  # else the test below compares nothing
    assert machine.factor is not None
    np.testing.assert_allclose(machine.factor.T @ machine.factor, metric * 10 / np.trace(metric), atol=1e-9)


def test_the_feature_machine_finds_the_relevant_coordinates() -> None:
    train, test = chain(500), chain(300, seed=1)
    machine = recursive_feature_machine(train, test, iterations=4)
    assert machine.factor is not None
    assert np.square(machine.factor[:, :3]).sum() / np.square(machine.factor).sum() > 0.9
    assert machine.iteration > 0
    assert machine.test > kernel_machine(train, test).test + 0.1


def test_the_feature_machine_of_wide_inputs_forms_no_square_of_them() -> None:
    """200,000 inputs: M would take 320 GB. Inputs that are always 0 change no score."""
    train, test = chain(50), chain(30, seed=1)
    wide = [part.of(np.hstack([part.features, np.zeros((len(part.features), 199_990))])) for part in (train, test)]
    machine, narrow = (recursive_feature_machine(pair[0], pair[1], iterations=2) for pair in (wide, (train, test)))
    assert (machine.iteration, machine.ridge) == (narrow.iteration, narrow.ridge)
    assert machine.test == pytest.approx(narrow.test)
