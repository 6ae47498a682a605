"""One split of a data set for probes and kernel machines, the scores of predictions, and the held-out samples.

Penalties and bandwidths are chosen on the last fifth of the training samples. Test samples are scored once, after every
choice is made.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nfa.features.moments import Moments

VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        features: (n, m) float64: features of a layer, or inputs.
        targets: (n, C) float64.
        labels: (n,) int64 class labels, or None for a regression.
    """

    features: np.ndarray
    targets: np.ndarray
    labels: np.ndarray | None

    def rows(self, index: slice) -> "Split":
        """Return the samples of some rows."""
        return Split(self.features[index], self.targets[index], None if self.labels is None else self.labels[index])

    def of(self, features: np.ndarray) -> "Split":
        """Return the same samples with other features."""
        return Split(features, self.targets, self.labels)

    @cached_property
    def finite(self) -> bool:
        """True if no feature is NaN or infinite."""
        return bool(np.isfinite(self.features).all())

    @cached_property
    def moments(self) -> Moments:
        """Means and products of features and targets."""
        return Moments.of(self.features, self.targets)


def fitted_rows(n: int) -> int:
    """Return how many of the first of n training samples are fitted on, while the rest validates a choice."""
    return max(1, min(round(n * (1 - VALIDATION_SHARE)), n - 1))


def score(predicted: np.ndarray, split: Split) -> float:
    """Score predictions (n, C): accuracy of the largest output for classes, R^2 for a regression."""
    if split.labels is None:
        return r2(predicted, split.targets)
    return float((predicted.argmax(axis=1) == split.labels).mean())


def r2(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Compute R^2 of predictions (n, C), averaged uniformly over outputs; NaN if a target does not vary."""
    residual = np.square(targets - predicted).sum(axis=0)
    total = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    return float((1 - residual / np.where(total > 0, total, np.nan)).mean())


def merit(predicted: np.ndarray, split: Split, *, by_label: bool = True) -> float:
    """Score predictions (n, C) on held-out samples, for a choice between candidates.

    The score is that of ``score``, or R^2 for classes too if ``by_label`` is false. R^2 leaves out outputs that do not
    vary among these few samples, where a class may be missing, because they would make every candidate's score NaN.
    """
    if by_label and split.labels is not None:
        return score(predicted, split)
    varying = (split.targets != split.targets[:1]).any(axis=0)
    return r2(predicted[:, varying], split.targets[:, varying]) if varying.any() else float("nan")


def best(scores: list[float]) -> int:
    """Return the index of the best score, the last among equal ones: candidates are ordered from complex to simple."""
    values = np.where(np.isnan(scores), -np.inf, scores)
    return len(values) - 1 - int(np.argmax(values[::-1]))
