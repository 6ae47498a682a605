"""Statistics of the synthetic data sets against formulas in float64 and moments of large samples."""

from typing import Any

import numpy as np
import pytest

from nfa.data import Data
from nfa.data.alignment_reversing import variances
from nfa.data.boolean import parity, staircase
from nfa.data.modular_arithmetic import result
from nfa.data.options import chosen, moments, orthonormal, standardised
from nfa.data.polynomials import hermite
from nfa.data.teacher import normalised
from nfa.data.translation_invariant import correlation, ring_gaussian, through_erf
from tests.data.test_entries import loaded

N = 40_000


def large(seed: int = 0, **keys: Any) -> Data:
    return loaded(seed, n_train=N, n_test=10, **keys)


def outside(data: Data) -> np.ndarray:
    """Change the inputs in every irrelevant direction; return the part of the change in the relevant ones."""
    assert data.directions is not None
    u = data.directions.astype(np.float64)
    noise = np.random.default_rng(0).standard_normal((len(u), 100))
    part: np.ndarray = u.T @ (noise - u @ (u.T @ noise))
    return part


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "chain_monomial"},
        {"name": "single_index", "degree": 2},
        {"name": "single_index", "degree": 1, "along": "axes"},
        {"name": "multi_index"},
        {"name": "multi_index", "degree": 1, "rank": 2, "link": "product"},
        {"name": "gaussian_power_law"},
        {"name": "staircase"},
        {"name": "teacher"},
        {"name": "teacher", "activation": "tanh"},
        {"name": "teacher", "activation": "quadratic"},
    ],
    ids=str,
)
def test_targets_have_mean_zero_and_variance_one(keys: dict[str, Any]) -> None:
    y = large(**keys).y_train.astype(np.float64)
    assert abs(y.mean()) < 5 / np.sqrt(N)
    kurtosis = ((y - y.mean()) ** 4).mean()
    assert abs(y.var() - 1) < 5 * np.sqrt(kurtosis / N)


def test_gaussian_variances_fall_as_a_power() -> None:
    x = large(name="gaussian_power_law", alpha=1.5, dim=8).x_train.astype(np.float64)
    np.testing.assert_allclose(x.T @ x / N, np.diag(np.arange(1.0, 9) ** -1.5), atol=5 / np.sqrt(N))


def test_a_linear_target_is_linear_along_its_direction() -> None:
    data = large(name="gaussian_power_law", alpha=1.0)
    assert data.directions is not None
    z = data.x_train.astype(np.float64) @ data.directions
    slope = (z * data.y_train).mean() / (z * z).mean()
    np.testing.assert_allclose(data.y_train, slope * z, atol=1e-5)


def test_hermite_polynomials_are_orthonormal() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights /= weights.sum()
    table = np.stack([hermite(nodes, degree) for degree in range(13)])
    np.testing.assert_allclose((table * weights) @ table.T, np.eye(13), atol=1e-9)
    np.testing.assert_allclose(hermite(nodes, 3), (nodes**3 - 3 * nodes) / np.sqrt(6), rtol=1e-10)


@pytest.mark.parametrize("along", ["random", "axes"])
def test_the_index_targets_are_functions_of_their_directions(along: str) -> None:
    single, several = large(name="single_index", along=along), large(name="multi_index", along=along, link="product")
    for data, degree in ((single, 3), (several, 2)):
        assert data.directions is not None
        z = data.x_train.astype(np.float64) @ data.directions
        np.testing.assert_allclose(hermite(z, degree).prod(axis=1), data.y_train[:, 0], atol=2e-2, rtol=1e-3)
        np.testing.assert_allclose(outside(data), 0, atol=1e-4)
        # Nothing of lower degree leads to the target.
        assert abs((data.y_train[:, 0] * hermite(z[:, 0], 1)).mean()) < 10 / np.sqrt(N)


def test_staircase_and_parity_known_values() -> None:
    x = np.array([[1.0, -1, 1, 9], [-1, -1, -1, 9]])
    np.testing.assert_allclose(staircase(x, 3), np.array([[1 - 1 - 1], [-1 + 1 - 1]]) / np.sqrt(3))
    np.testing.assert_array_equal(parity(x, 3), [1, 1])
    np.testing.assert_array_equal(parity(x, 2), [1, 0])
    data = large(name="sparse_parity", dim=10)
    assert data.labels_train is not None
    signs = 1 - 2 * data.labels_train
    np.testing.assert_array_equal(data.x_train[:, :3].prod(axis=1), signs)
    assert set(np.unique(data.x_train)) == {-1.0, 1.0}
    assert np.abs(data.x_train.T @ signs / N).max() < 5 / np.sqrt(N)  # no input alone tells anything


@pytest.mark.parametrize("activation", ["relu", "tanh", "erf", "quadratic"])
def test_teacher_units_have_mean_zero_and_variance_one(activation: str) -> None:
    z = np.linspace(-12, 12, 400_001)
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    s = normalised(z, activation)
    assert (s * weight).sum() == pytest.approx(0, abs=1e-9)
    assert (s**2 * weight).sum() == pytest.approx(1, abs=1e-8)


def test_a_teacher_depends_on_its_directions_alone() -> None:
    data = large(name="teacher", activation="quadratic", units=3)
    assert data.directions is not None
    z = data.x_train.astype(np.float64) @ data.directions
    features = (z**2 - 1) / np.sqrt(6)
    signs, *_ = np.linalg.lstsq(features, data.y_train[:, 0], rcond=None)
    np.testing.assert_allclose(np.abs(signs), 1, atol=1e-4)
    np.testing.assert_allclose(features @ signs, data.y_train[:, 0], atol=1e-3)


def test_the_mixture_has_the_two_covariances_and_the_share() -> None:
    data = large(name="alignment_reversing", dim=6, power=1.0, gamma=0.3)
    assert data.y_train.mean() == pytest.approx(0.7, abs=5 * np.sqrt(0.21 / N))
    for component, target in enumerate((1.0, 0.0)):
        x = data.x_train[data.y_train[:, 0] == target].astype(np.float64)
        expected = variances(6, 1.0)[component]
        np.testing.assert_allclose(x.var(axis=0), expected, rtol=5 * np.sqrt(2 / len(x)))
    np.testing.assert_allclose(variances(6, 2.0)[:, 0], [0.1, 1000.0])


@pytest.mark.parametrize(("power", "gamma", "known"), [(2.0, 0.0, 0.984), (2.0, 0.1, 0.978), (2.0, 0.5, 0.866)])
def test_the_mixture_lowers_early_alignment_as_known(power: float, gamma: float, known: float) -> None:
    """rho(R^2, R S R), R = mean of y x x^T, S = mean of x x^T: C-NFC at step 0 of an infinite quadratic network."""
    data = loaded(name="alignment_reversing", power=power, gamma=gamma)
    x, y = data.x_train.astype(np.float64), data.y_train.astype(np.float64)
    r, s = (x * y).T @ x / len(x), x.T @ x / len(x)
    a, b = r @ r, r @ s @ r
    assert (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()) == pytest.approx(known, abs=0.02)


@pytest.mark.parametrize(
    ("operation", "known"), [("+", [(5, 4, 2)]), ("-", [(2, 5, 4)]), ("*", [(3, 5, 1)]), ("/", [(1, 3, 5), (0, 2, 0)])]
)
def test_modular_arithmetic_known_values(operation: str, known: list[tuple[int, int, int]]) -> None:
    for a, b, c in known:
        assert result(np.array([a]), np.array([b]), 7, operation)[0] == c


@pytest.mark.parametrize("operation", ["+", "-", "*", "/"])
def test_modular_arithmetic_holds_every_pair_once(operation: str) -> None:
    keys: dict[str, Any] = {"name": "modular_arithmetic", "modulus": 11, "operation": operation, "train_share": 0.3}
    tokens, vectors = loaded(**keys, encoding="tokens"), loaded(**keys)
    pairs = np.concatenate([tokens.x_train, tokens.x_test])
    assert len(pairs) == len({(int(a), int(b)) for a, b in pairs}) == (110 if operation == "/" else 121)
    assert len(tokens.x_train) == round(0.3 * len(pairs))
    assert tokens.labels_train is not None
    for (a, b), label in zip(tokens.x_train, tokens.labels_train, strict=True):
        exact = {"+": a + b - label, "-": a - b - label, "*": a * b - label, "/": a - b * label}[operation]
        assert exact % 11 == 0
    np.testing.assert_array_equal(vectors.x_train.sum(axis=1), 2)
    np.testing.assert_array_equal(vectors.x_train[:, :11].argmax(axis=1), tokens.x_train[:, 0])
    np.testing.assert_array_equal(vectors.x_train[:, 11:].argmax(axis=1), tokens.x_train[:, 1])


def test_the_ring_has_the_covariance_that_is_said() -> None:
    row = correlation(40, 4.0)
    offsets = np.minimum(np.arange(40), 40 - np.arange(40))
    np.testing.assert_allclose(row, np.exp(-((offsets / 4.0) ** 2)), atol=1e-9)
    assert np.fft.rfft(row).real.min() > -1e-12  # it is a covariance
    colour = ring_gaussian(np.eye(40), row)
    circulant = np.stack([np.roll(row, shift) for shift in range(40)])
    np.testing.assert_allclose(colour @ colour.T, circulant, atol=1e-10)


@pytest.mark.parametrize("inputs", ["nongaussian", "gaussian"])
def test_both_kinds_of_inputs_have_one_covariance(inputs: str) -> None:
    data = large(name="nongaussian", dim=24, inputs=inputs)
    assert data.labels_train is not None
    assert data.labels_train.mean() == pytest.approx(0.5, abs=5 / np.sqrt(4 * N))
    for label, length in enumerate((3.0, 6.0)):
        x = data.x_train[data.labels_train == label].astype(np.float64)
        row = through_erf(correlation(24, length), 3.0)
        circulant = np.stack([np.roll(row, shift) for shift in range(24)])
        np.testing.assert_allclose(x.T @ x / len(x), circulant, atol=7 / np.sqrt(len(x)))
        assert row[0] == pytest.approx(1)
        fourth = (x**4).mean()
        assert (fourth < 2) if inputs == "nongaussian" else (fourth == pytest.approx(3, abs=0.2))


def test_directions_follow_a_standardisation() -> None:
    keys: dict[str, Any] = {"name": "gaussian_power_law", "alpha": 2.0, "dim": 6}
    data = large(**keys, standardise="per_feature")
    assert data.directions is not None
    z = data.x_train.astype(np.float64) @ data.directions
    slope = (z * data.y_train).mean() / (z * z).mean()
    assert np.std(data.y_train - slope * z - (data.y_train - slope * z).mean()) < 1e-4
    axes = loaded(name="chain_monomial", standardise="per_feature").directions
    assert axes is not None
    np.testing.assert_allclose(axes, np.eye(32, 5), atol=1e-6)


def test_subsets_are_fixed_and_nested() -> None:
    small, larger = chosen(1000, 50), chosen(1000, 200)
    assert set(small) <= set(larger)
    assert len(set(small)) == 50
    assert (np.diff(larger) > 0).all()
    np.testing.assert_array_equal(chosen(7, None), np.arange(7))
    np.testing.assert_array_equal(chosen(7, 7), np.arange(7))


def test_standardising_changes_no_input_and_needs_no_variation() -> None:
    x = np.random.default_rng(0).normal(5, 3, (9000, 2, 2, 2)).astype(np.float32)
    x[:, 1, 1] = 4
    before = x.copy()
    out = standardised(x, *moments(x, "per_feature"))
    np.testing.assert_array_equal(x, before)
    assert (out[:, 1, 1] == 0).all()
    np.testing.assert_allclose(out[:, 0].std(axis=0), 1, rtol=1e-5)


def test_random_frames_are_orthonormal_and_span_what_they_are_made_of() -> None:
    given = np.random.default_rng(0).standard_normal((20, 3))
    frame = orthonormal(given)
    np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(frame @ (frame.T @ given), given, atol=1e-12)
    assert (np.diag(frame.T @ given) > 0).all()
