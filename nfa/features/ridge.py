"""Ridge regression at several penalties from one Gram matrix, in float64.

With centred X (n, m) and Y (n, C) and a penalty lambda per sample,

    B(lambda) = argmin |Y - X B|^2 + n lambda |B|^2
              = (X^T X + n lambda I)^-1 X^T Y        m <= n: the primal form
              = X^T (X X^T + n lambda I)^-1 Y        m > n: the dual form

Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, eq. 3.44 and 18.16. The intercept is not penalised.
A Cholesky decomposition for each penalty costs less than one eigendecomposition for all, up to about ten penalties.
"""

import numpy as np
from scipy import linalg


class RidgePath:
    """Ridge regression of targets on features, with an intercept, at any penalty.

    Example:
        >>> x = np.arange(4.0)[:, None]
        >>> RidgePath(x, 2 * x + 1).predict(np.array([[10.0]]), penalty=1e-9).round(3).tolist()
        [[21.0]]
    """

    def __init__(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Compute the smaller of X^T X and X X^T.

        Args:
            features: (n, m) float64.
            targets: (n, C) float64.
        """
        self.n = len(features)
        self.mean, self.target_mean = features.mean(axis=0), targets.mean(axis=0)
        self._x, self._y = features - self.mean, targets - self.target_mean
        self._found: dict[float, np.ndarray] = {}
        self._primal = self._x.shape[1] <= self.n
        self._gram = self._x.T @ self._x if self._primal else self._x @ self._x.T

    def coefficients(self, penalty: float) -> np.ndarray:
        """Return the coefficients B, (m, C), at a penalty per sample, which must be above 0."""
        if penalty not in self._found:
            self._found[penalty] = self._solved(penalty)
        return self._found[penalty]

    def _solved(self, penalty: float) -> np.ndarray:
        """Solve for the coefficients at a penalty."""
        regularised = self._gram.copy()
        regularised.flat[:: len(regularised) + 1] += self.n * penalty
        decomposed = linalg.cho_factor(regularised, overwrite_a=True, check_finite=False)
        target = self._x.T @ self._y if self._primal else self._y
        solved: np.ndarray = linalg.cho_solve(decomposed, target, check_finite=False)
        return solved if self._primal else self._x.T @ solved

    def predict(self, features: np.ndarray, penalty: float) -> np.ndarray:
        """Predict (n, C) for features (n, m) at a penalty."""
        predicted: np.ndarray = (features - self.mean) @ self.coefficients(penalty) + self.target_mean
        return predicted
