"""The closed form of ridge regression against scikit-learn, primal and dual, and its invariances."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from nfa.features import RidgePath, Split, linear_probe, target_linearity
from nfa.features.probe import RIDGE_PENALTIES, standardised


def problem(n: int, m: int, outputs: int = 2, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A linear problem of features on different scales."""
    draw = np.random.default_rng(n * m)
    x = draw.normal(size=(n, m)) * (1 + np.arange(m) % 5) + 3
    return x, x @ draw.normal(size=(m, outputs)) / np.sqrt(m) + noise * draw.normal(size=(n, outputs))


def classes(n: int, m: int, seed: int = 0) -> Split:
    """Three overlapping classes, coded as onehot - 1/3."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, n)
    x = draw.normal(size=(n, m))
    x[:, :3] += 1.5 * np.eye(3)[labels]
    return Split(x, np.eye(3)[labels] - 1 / 3, labels)


@pytest.mark.parametrize(("n", "m"), [(80, 12), (30, 90), (40, 40)], ids=["primal", "dual", "square"])
@pytest.mark.parametrize("penalty", RIDGE_PENALTIES)
def test_every_penalty_agrees_with_scikit_learn(n: int, m: int, penalty: float) -> None:
    x, y = problem(n, m)
    new, _ = problem(25, m)
    expected = Ridge(alpha=n * penalty, solver="svd").fit(x, y)
    path = RidgePath(x, y)
    np.testing.assert_allclose(path.coefficients(penalty), expected.coef_.T, rtol=0, atol=1e-6)
    np.testing.assert_allclose(path.predict(new, penalty), expected.predict(new), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("n", "m"), [(80, 12), (30, 90)], ids=["primal", "dual"])
def test_a_rotation_of_the_features_changes_no_prediction(n: int, m: int) -> None:
    x, y = problem(n, m)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(m, m)))
    expected = RidgePath(x, y).predict(x, 1e-2)
    np.testing.assert_allclose(RidgePath(x @ rotation, y).predict(x @ rotation, 1e-2), expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_scale_and_shift_of_a_feature_change_no_score(kind: str) -> None:
    train, test = classes(200, 6), classes(100, 6, seed=1)
    scale, shift = 10.0 ** np.arange(-3, 3), np.arange(6.0)
    moved = [part.of(part.features * scale + shift) for part in (train, test)]
    assert linear_probe(moved[0], moved[1], kind) == pytest.approx(linear_probe(train, test, kind))


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_scores_are_those_of_scikit_learn_at_the_chosen_penalty(kind: str) -> None:
    train, test = classes(300, 8), classes(200, 8, seed=1)
    found = linear_probe(train, test, kind)
    a, b = standardised(train, test)
    if kind == "logistic":
        model = LogisticRegression(C=1 / found["penalty"], max_iter=500).fit(a.features, a.labels)
        expected = [model.score(part.features, part.labels) for part in (a, b)]
    else:
        ridge = Ridge(alpha=found["penalty"] * 300).fit(a.features, a.targets)
        expected = [(ridge.predict(part.features).argmax(1) == part.labels).mean() for part in (a, b)]
    assert [found["train"], found["test"]] == pytest.approx(expected, abs=1e-6)


def test_linearity_is_scikit_learns_r2_of_the_coded_targets() -> None:
    train, test = classes(300, 8), classes(200, 8, seed=1)
    found = target_linearity(train, test)
    a, b = standardised(train, test)
    ridge = Ridge(alpha=found["penalty"] * 300).fit(a.features, a.targets)
    assert found["test"] == pytest.approx(ridge.score(b.features, b.targets), abs=1e-6)


def test_a_class_that_validation_lacks_leaves_the_penalty_to_the_others() -> None:
    """With 40 classes some are missing among 40 held-out samples, where their R^2 is undefined."""
    draw = np.random.default_rng(0)
    code, labels = np.eye(40), draw.integers(0, 40, 4200)
    x = 6 * code[labels] + draw.normal(size=(4200, 40))
    train, test = (Split(x[rows], code[labels[rows]], labels[rows]) for rows in (slice(200), slice(200, None)))
    assert len(set(labels[160:200])) < 40
    a, b = standardised(train, test)
    paths, scores = (RidgePath(a.features[:160], a.targets[:160]), RidgePath(a.features, a.targets)), []
    varying = a.targets[160:].any(axis=0)
    for penalty in RIDGE_PENALTIES:
        residual = np.square(paths[0].predict(a.features[160:], penalty) - a.targets[160:]).sum(0)[varying]
        scores.append((1 - residual / (40 * a.targets[160:].var(0)[varying])).mean())
    found = target_linearity(train, test)
    assert found["penalty"] == RIDGE_PENALTIES[int(np.argmax(scores))]
    ridge = Ridge(alpha=found["penalty"] * 200).fit(a.features, a.targets)
    assert found["test"] == pytest.approx(ridge.score(b.features, b.targets), abs=1e-6)
    assert found["penalty"] < RIDGE_PENALTIES[-1]


def test_one_class_has_no_logistic_probe() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    one = Split(x, np.ones((30, 1)), np.zeros(30, dtype=np.int64))
    found = linear_probe(one, one, "logistic")
    assert np.isnan([found["train"], found["test"], found["penalty"]]).all()


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_test_samples_choose_nothing(kind: str) -> None:
    train, test = classes(200, 6), classes(100, 6, seed=1)
    assert test.labels is not None
    other = Split(-test.features, test.targets[::-1], (test.labels + 1) % 3)
    found, again = linear_probe(train, test, kind), linear_probe(train, other, kind)
    assert (found["penalty"], found["train"]) == (again["penalty"], again["train"])
    assert found["test"] != again["test"]


def test_features_that_overflow_have_no_score() -> None:
    train, test = classes(50, 4), classes(20, 4)
    train.features[3, 1] = np.inf
    found = linear_probe(train, test)
    assert np.isnan([found["train"], found["test"], found["penalty"]]).all()
