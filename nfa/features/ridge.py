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

from nfa.features.moments import Moments


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
        self._begin(Moments.of(features, targets))

    @classmethod
    def of(cls, moments: Moments) -> "RidgePath":
        """Use products that are known."""
        path = cls.__new__(cls)
        path._begin(moments)
        return path

    def _begin(self, moments: Moments) -> None:
        self._moments = moments
        self._found: dict[float, np.ndarray] = {}

    def coefficients(self, penalty: float) -> np.ndarray:
        """Return the coefficients B, (m, C), at a penalty per sample, which must be above 0."""
        if penalty not in self._found:
            self._found[penalty] = self._solved(penalty)
        return self._found[penalty]

    def _solved(self, penalty: float) -> np.ndarray:
        """Solve for the coefficients at a penalty."""
        known = self._moments
        target = known.cross if known.primal else known.targets
        solved = solve_regularised(known.gram, len(known.features) * penalty, target)
        return solved if known.primal else known.features.T @ solved

    def predict(self, features: np.ndarray, penalty: float) -> np.ndarray:
        """Predict (n, C) for features (n, m) at a penalty."""
        known, coefficients = self._moments, self.coefficients(penalty)
        predicted: np.ndarray = features @ coefficients + (known.target_mean - known.mean @ coefficients)
        return predicted


def solve_regularised(matrix: np.ndarray, added: float, target: np.ndarray) -> np.ndarray:
    """Solve (A + added I) B = target for a symmetric positive semi-definite A, finite, by a Cholesky decomposition."""
    regularised = matrix.copy()
    regularised.flat[:: len(regularised) + 1] += added
    # The transpose is the same matrix in the order of memory that LAPACK wants, which saves a slow copy.
    decomposed = linalg.cho_factor(regularised.T, overwrite_a=True, check_finite=False)
    solved: np.ndarray = linalg.cho_solve(decomposed, target, check_finite=False)
    return solved
