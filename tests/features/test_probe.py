"""Linear probes against scikit-learn, on separable classes and on noise."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from nfa.features import linear_probe
from nfa.features.probe import RIDGE_PENALTIES
from nfa.features.split import Split


def split(features: np.ndarray, targets: np.ndarray, labels: np.ndarray | None = None) -> Split:
    """Build a split."""
    return Split(features, targets, labels)


def test_ridge_agrees_with_scikit_learn_at_the_chosen_penalty() -> None:
    draw = np.random.default_rng(0)
    x, w = draw.normal(size=(300, 20)) * 3 + 1, draw.normal(size=(20, 2))
    y = x @ w + 3 * draw.normal(size=(300, 2))
    x_test = draw.normal(size=(100, 20)) * 3 + 1
    y_test = x_test @ w + 3 * draw.normal(size=(100, 2))
    found = linear_probe(split(x, y), split(x_test, y_test), "ridge")
    mean, deviation = x.mean(0), x.std(0)
    expected = [
        Ridge(alpha=penalty * 300).fit((x - mean) / deviation, y).score((x_test - mean) / deviation, y_test)
        for penalty in RIDGE_PENALTIES
    ]
    assert min(abs(found["test"] - value) for value in expected) < 1e-6
    assert found["test"] > max(expected) - 0.02  # validation chose well


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_separable_classes_are_found_and_noise_is_not(kind: str) -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 600)
    x = draw.normal(size=(600, 10))
    code = np.eye(3)[labels]

    def score() -> float:
        train, test = (split(x[rows], code[rows], labels[rows]) for rows in (slice(400), slice(400, None)))
        return linear_probe(train, test, kind)["test"]

    assert score() < 0.5
    x[:, :3] += 6 * code
    assert score() > 0.97


def test_a_constant_feature_and_more_features_than_samples_are_no_trouble() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(40, 100))
    x[:, 3] = 7.0
    scores = linear_probe(split(x, x[:, :1]), split(x, x[:, :1]), "ridge")
    assert np.isfinite([scores["train"], scores["test"]]).all()
