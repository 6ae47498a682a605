"""Means and products of features and targets: what ridge regression and kernel alignment share.

The product of the features with themselves costs more than anything else about the features of a layer. It is computed
once, and every other product that is needed follows from it: of standardised features, of the first samples alone, and
of features that are not centred.

    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> moments = Moments.of(x, 2 * x)
    >>> moments.mean.tolist(), moments.gram.tolist(), moments.first(2).gram.tolist()
    ([3.0], [[14.0]], [[0.5]])
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Centred features and targets of n samples, and their products.

    Attributes:
        mean: Means that the features lost, (m,).
        target_mean: Means that the targets lost, (C,).
        features: X, centred features, (n, m) float64.
        targets: Y, centred targets, (n, C) float64.
        gram: X^T X if m <= n, otherwise X X^T.
        cross: X^T Y, (m, C).
    """

    mean: np.ndarray
    target_mean: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    gram: np.ndarray
    cross: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, targets: np.ndarray) -> "Moments":
        """Compute the moments of features (n, m) and targets (n, C), both float64."""
        mean, target_mean = features.mean(axis=0), targets.mean(axis=0)
        # Centring comes first: a constant float32 column loses its mean exactly.
        x, y = features - mean, targets - target_mean
        return cls(mean, target_mean, x, y, gram(x), x.T @ y)

    @property
    def primal(self) -> bool:
        """True if there are no more features than samples, so that ``gram`` is X^T X."""
        return bool(self.features.shape[1] <= len(self.features))

    @cached_property
    def scale(self) -> np.ndarray:
        """Standard deviations of the features, (m,); 1 for constant ones."""
        deviation = np.sqrt(np.einsum("nm,nm->m", self.features, self.features) / len(self.features))
        return np.where(deviation > 0, deviation, 1.0)

    @cached_property
    def standardised(self) -> "Moments":
        """Moments of the centred features divided by ``scale``."""
        scale = self.scale
        x = self.features / scale
        product = self.gram / scale / scale[:, None] if self.primal else gram(x)
        return Moments(
            np.zeros_like(self.mean), self.target_mean, x, self.targets, product, self.cross / scale[:, None]
        )

    def first(self, n: int) -> "Moments":
        """Compute the moments of the first n samples.

        Where n is at least m, the products of the other samples are subtracted from the products of all. Of
        standardised features this loses some last digits, far below the smallest penalty of a ridge probe.
        """
        x, y = self.features[:n], self.targets[:n]
        shift, target_shift = x.mean(axis=0), y.mean(axis=0)
        mean, target_mean = self.mean + shift, self.target_mean + target_shift
        x, y = x - shift, y - target_shift
        if x.shape[1] > n:
            return Moments(mean, target_mean, x, y, gram(x), x.T @ y)
        rest = self.features[n:]
        product = self.gram - rest.T @ rest - n * np.outer(shift, shift)
        cross = self.cross - rest.T @ self.targets[n:] - n * np.outer(shift, target_shift)
        return Moments(mean, target_mean, x, y, product, cross)

    def uncentred(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ``gram`` and ``cross`` of the features and targets with their means."""
        n = len(self.features)
        cross = self.cross + n * np.outer(self.mean, self.target_mean)
        if self.primal:
            return self.gram + n * np.outer(self.mean, self.mean), cross
        along = self.features @ self.mean
        return self.gram + along[:, None] + along + self.mean @ self.mean, cross


def gram(matrix: np.ndarray) -> np.ndarray:
    """Form the smaller of A^T A and A A^T, which have the same norm."""
    small: np.ndarray = matrix.T @ matrix if matrix.shape[1] <= len(matrix) else matrix @ matrix.T
    return small
