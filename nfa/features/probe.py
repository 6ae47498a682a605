"""Linear probes: how well a linear read-out of given features predicts the target on held-out data.

Features are standardised by the training samples, and the penalty is chosen on a fifth of them, never on test data.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

RIDGE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # per training sample
LOGISTIC_STRENGTHS = (1e-2, 1.0, 100.0)  # scikit-learn's C
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """One split of a data set, as a probe sees it.

    Attributes:
        features: (n, m) float64.
        targets: (n, C) float64.
        labels: (n,) int64 class labels, or None for regression.
    """

    features: np.ndarray
    targets: np.ndarray
    labels: np.ndarray | None

    def rows(self, index: slice) -> "Split":
        """Return some of the samples."""
        return Split(self.features[index], self.targets[index], None if self.labels is None else self.labels[index])


def linear_probe(train: Split, test: Split, kind: str) -> dict[str, float]:
    """Fit a linear probe and score it on both splits.

    Args:
        train: Samples to fit on; the last fifth of them chooses the penalty. Their order must be random.
        test: Samples to score only.
        kind: ``ridge``: ridge regression on the targets (classes: the largest output); ``logistic``: for classes.

    Returns:
        ``train`` and ``test`` -> accuracy for classes, R^2 (uniform average over outputs) for regression; NaN where
        the features overflow.
    """
    if not (np.isfinite(train.features).all() and np.isfinite(test.features).all()):
        return {"train": float("nan"), "test": float("nan")}
    mean, deviation = train.features.mean(axis=0), train.features.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    train, test = (Split((part.features - mean) / scale, part.targets, part.labels) for part in (train, test))
    fitted = max(1, round(len(train.features) * (1 - VALIDATION_SHARE)))
    fit, validate = train.rows(slice(fitted)), train.rows(slice(fitted, None))
    penalties = RIDGE_PENALTIES if kind == "ridge" else LOGISTIC_STRENGTHS
    scores = [_score(_fit(kind, penalty, fit), validate) for penalty in penalties]
    probe = _fit(kind, penalties[int(np.argmax(scores))], train)
    return {"train": _score(probe, train), "test": _score(probe, test)}


def _fit(kind: str, penalty: float, data: Split) -> Any:
    """Fit one probe at one penalty."""
    if kind == "logistic":
        return LogisticRegression(C=penalty, max_iter=500).fit(data.features, data.labels)
    return Ridge(alpha=penalty * len(data.features), solver="cholesky").fit(data.features, data.targets)


def _score(probe: Any, data: Split) -> float:
    """Accuracy for classes, R^2 for regression."""
    predicted = probe.predict(data.features)
    if data.labels is None:
        residual = np.square(data.targets - predicted.reshape(data.targets.shape)).sum(axis=0)
        total = np.square(data.targets - data.targets.mean(axis=0)).sum(axis=0)
        return float((1 - residual / total).mean())
    chosen = predicted if predicted.ndim == 1 else predicted.argmax(axis=1)
    return float((chosen == data.labels).mean())
