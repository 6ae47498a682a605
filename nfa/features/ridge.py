"""Ridge regression at every penalty from a single eigendecomposition, in float64.

With centred X (n, m) and Y (n, C) and a penalty lambda per sample,

    B(lambda) = argmin |Y - X B|^2 + n lambda |B|^2
              = V (s + n lambda)^-1 V^T X^T Y        X^T X = V diag(s) V^T,  m <= n: the primal form
              = X^T U (s + n lambda)^-1 U^T Y        X X^T = U diag(s) U^T,  m > n: the dual form

Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, eq. 3.44 and 18.16. The intercept is not penalised.
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
        """Decompose the smaller of X^T X and X X^T.

        Args:
            features: (n, m) float64.
            targets: (n, C) float64.
        """
        self.n = len(features)
        self.mean, self.target_mean = features.mean(axis=0), targets.mean(axis=0)
        x, y = features - self.mean, targets - self.target_mean
        if x.shape[1] <= self.n:
            values, self._basis = linalg.eigh(x.T @ x)
            self._projected = self._basis.T @ (x.T @ y)
        else:
            values, vectors = linalg.eigh(x @ x.T)
            self._basis, self._projected = x.T @ vectors, vectors.T @ y
        self._values = np.maximum(values, 0)

    def coefficients(self, penalty: float) -> np.ndarray:
        """Return the coefficients B, (m, C), at a penalty per sample, which must be above 0."""
        shrunk: np.ndarray = self._projected / (self._values + self.n * penalty)[:, None]
        found: np.ndarray = self._basis @ shrunk
        return found

    def predict(self, features: np.ndarray, penalty: float) -> np.ndarray:
        """Predict (n, C) for features (n, m) at a penalty."""
        predicted: np.ndarray = (features - self.mean) @ self.coefficients(penalty) + self.target_mean
        return predicted
