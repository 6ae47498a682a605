"""Linear probes: how well a linear readout of features predicts the target on test samples.

A probe is ridge or logistic regression (Alain & Bengio, arXiv 1610.01644) on features that are standardised by the
training samples. The penalty is chosen on a fifth of the training samples, never on test samples. The baselines are the
same probe of the raw input, and of the same layer of the untrained network.

    >>> x = np.random.default_rng(0).standard_normal((60, 3))
    >>> train, test = (Split(part, part[:, :1], None) for part in (x[:40], x[40:]))
    >>> scores = linear_probe(train, test)
    >>> round(scores["test"], 3), scores["penalty"]
    (1.0, 1e-06)
"""

from typing import Any, TypedDict

import numpy as np

from nfa.conventions import LINEAR_PROBES
from nfa.errors import nearest
from nfa.features.ridge import RidgePath
from nfa.features.split import Split, best, fitted_rows, merit, r2, score

RIDGE_PENALTIES = tuple(10.0**power for power in range(-6, 2))  # per training sample
LOGISTIC_PENALTIES = (1e-2, 1.0, 1e2)  # 1/C of scikit-learn
NAN = float("nan")


class ProbeScores(TypedDict):
    """Scores on both splits and the chosen penalty; NaN if features are not finite or there is a single class."""

    train: float
    test: float
    penalty: float


UNDEFINED: ProbeScores = {"train": NAN, "test": NAN, "penalty": NAN}


def linear_probe(train: Split, test: Split, kind: str = "ridge") -> ProbeScores:
    """Fit a linear probe and score it on both splits.

    Args:
        train: Samples to fit on; the last fifth of them chooses the penalty. Their order must be random.
        test: Samples to score only.
        kind: ``ridge``: ridge regression on the targets, whose largest output is the class; ``logistic``: classes only.

    Returns:
        ``train`` and ``test``: accuracy for classes, R^2 (uniform average over outputs) for regression; ``penalty``:
        per training sample for ridge, 1/C of scikit-learn for logistic.

    Raises:
        ValueError: The kind is unknown, or it is ``logistic`` and there are no labels.
    """
    if kind == "ridge":
        return RidgeProbe(train, test).scores()
    if kind != "logistic":
        raise ValueError(f"kind: {kind!r}: {nearest(kind, LINEAR_PROBES)}")
    if train.labels is None or test.labels is None:
        raise ValueError("kind: 'logistic' needs labels, and the samples are a regression's: use 'ridge'")
    return _logistic(train, test)


def target_linearity(train: Split, test: Split) -> ProbeScores:
    """Compute R^2 of ridge regression from features to targets, also of coded classes; see ``linear_probe``."""
    return RidgeProbe(train, test).linearity()


class RidgeProbe:
    """A ridge probe, which is decomposed once for both of its scores."""

    def __init__(self, train: Split, test: Split) -> None:
        """Standardise by the training samples and decompose; arguments as in ``linear_probe``."""
        self.finite = train.finite and test.finite
        if not self.finite:
            return
        self.train, self.test = standardised(train, test)
        moments = train.moments.standardised
        fitted = fitted_rows(len(train.features))
        self._validation = self.train.rows(slice(fitted, None))
        path = RidgePath.of(moments.first(fitted))
        self._validated = [path.predict(self._validation.features, penalty) for penalty in RIDGE_PENALTIES]
        self._path = RidgePath.of(moments)
        self._predicted: dict[float, list[np.ndarray]] = {}  # both scores mostly choose the same penalty

    def scores(self) -> ProbeScores:
        """Return the accuracy for classes, R^2 for a regression."""
        return self._scores(by_label=True)

    def linearity(self) -> ProbeScores:
        """Return R^2 of the targets, also of coded classes."""
        return self._scores(by_label=False)

    def _scores(self, *, by_label: bool) -> ProbeScores:
        if not self.finite:
            return UNDEFINED

        def value(predicted: np.ndarray, split: Split) -> float:
            return score(predicted, split) if by_label else r2(predicted, split.targets)

        merits = [merit(predicted, self._validation, by_label=by_label) for predicted in self._validated]
        penalty = RIDGE_PENALTIES[best(merits)]
        if penalty not in self._predicted:
            parts = (self.train, self.test)
            self._predicted[penalty] = [self._path.predict(part.features, penalty) for part in parts]
        on_train, on_test = self._predicted[penalty]
        return {"train": value(on_train, self.train), "test": value(on_test, self.test), "penalty": penalty}


def standardised(train: Split, test: Split) -> tuple[Split, Split]:
    """Scale training features to mean 0 and deviation 1 (constant ones to 0), and test features by the same numbers."""
    known = train.moments
    return train.of(known.standardised.features), test.of((test.features - known.mean) / known.scale)


def _logistic(train: Split, test: Split) -> ProbeScores:
    """Fit logistic regression by scikit-learn and score it."""
    if not (train.finite and test.finite):
        return UNDEFINED
    train, test = standardised(train, test)
    fitted = fitted_rows(len(train.features))
    fit, validate = train.rows(slice(fitted)), train.rows(slice(fitted, None))
    assert fit.labels is not None
    if len(np.unique(fit.labels)) < 2:
        return UNDEFINED
    scores = [_accuracy(_fit_logistic(penalty, fit), validate) for penalty in LOGISTIC_PENALTIES]
    penalty = LOGISTIC_PENALTIES[best(scores)]
    probe = _fit_logistic(penalty, train)
    return {"train": _accuracy(probe, train), "test": _accuracy(probe, test), "penalty": penalty}


def _fit_logistic(penalty: float, data: Split) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1 / penalty, max_iter=500).fit(data.features, data.labels)


def _accuracy(probe: Any, data: Split) -> float:
    return float((probe.predict(data.features) == data.labels).mean())
