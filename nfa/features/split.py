"""One split of a data set as probes and kernel machines see it, how a prediction of it is scored, and what is held out.

What is chosen (a penalty, a bandwidth) is chosen on the last fifth of the training samples; test samples are scored
once, with everything fixed.
"""

from dataclasses import dataclass

import numpy as np

VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        features: (n, m) float64: features of a layer, or inputs.
        targets: (n, C) float64.
        labels: (n,) int64 class labels, or None for regression.
    """

    features: np.ndarray
    targets: np.ndarray
    labels: np.ndarray | None

    def rows(self, index: slice) -> "Split":
        """Return some of the samples."""
        return Split(self.features[index], self.targets[index], None if self.labels is None else self.labels[index])

    def of(self, features: np.ndarray) -> "Split":
        """Return the same samples with other features."""
        return Split(features, self.targets, self.labels)

    @property
    def finite(self) -> bool:
        """Whether no feature is NaN or infinite."""
        return bool(np.isfinite(self.features).all())


def fitted_rows(n: int) -> int:
    """How many of n training samples, the first, are fitted on while something is chosen on the rest."""
    return max(1, min(round(n * (1 - VALIDATION_SHARE)), n - 1))


def score(predicted: np.ndarray, split: Split) -> float:
    """Score predictions (n, C): accuracy of the largest output for classes, R^2 for regression."""
    if split.labels is None:
        return r2(predicted, split.targets)
    return float((predicted.argmax(axis=1) == split.labels).mean())


def r2(predicted: np.ndarray, targets: np.ndarray) -> float:
    """R^2 of predictions (n, C), uniform average over outputs; NaN where a target does not vary."""
    residual = np.square(targets - predicted).sum(axis=0)
    total = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    return float((1 - residual / np.where(total > 0, total, np.nan)).mean())


def merit(predicted: np.ndarray, split: Split, *, by_label: bool = True) -> float:
    """Score predictions (n, C) on samples held out, for a choice between candidates.

    As ``score``, or R^2 for classes too; but outputs that do not vary among these few samples (a class may be missing)
    are left out of the average, since they would leave every candidate without a score.
    """
    if by_label and split.labels is not None:
        return score(predicted, split)
    varying = (split.targets != split.targets[:1]).any(axis=0)
    return r2(predicted[:, varying], split.targets[:, varying]) if varying.any() else float("nan")


def best(scores: list[float]) -> int:
    """Index of the best score, the last of equals: candidates are in the order of growing simplicity."""
    values = np.where(np.isnan(scores), -np.inf, scores)
    return len(values) - 1 - int(np.argmax(values[::-1]))
