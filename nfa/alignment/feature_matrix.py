"""The neural feature matrix F = W^T W (d x d), correlated without ever being formed when d > k.

With S = W W^T, r = W 1 and M any symmetric k x k matrix [derived]:

    <F, W^T M W> = tr(M S S)        |W^T M W|^2 = tr(M S M S)        |F|^2 = tr(S S)
    sums of entries: r^T r and r^T M r        diagonals: |w_j|^2 and w_j^T M w_j for each column w_j of W

When k > d, W = Q R (Q: k x d with orthonormal columns), so that W^T M W = R^T (Q^T M Q) R and everything is d x d.
"""

import torch
from torch import Tensor

from nfa.alignment.correlation import Moments, Sums
from nfa.alignment.values import Value

VANISHING = 1e-14  # share of |S| |M|, the largest that |W^T M W| can be


def correlations(weight: Tensor, middle: Tensor) -> dict[str, Value]:
    """rho(W^T W, W^T M W) in every correlation.

    Args:
        weight: W, (k, d) float64.
        middle: M, symmetric (k, k) float64, e.g. K, or ``power_middle(W, K, 0.5)``.

    Returns:
        Correlation name -> value; NaN with its reason where it is undefined.
    """
    return FeatureMatrix(weight).moments(middle).correlations()


def scaled(matrix: Tensor) -> Tensor:
    """Divide a matrix by its largest absolute entry, so that no product of it overflows; zero stays zero."""
    largest = matrix.abs().max()
    return matrix / largest if largest > 0 else matrix


class FeatureMatrix:
    """W, scaled and reduced once, for all that it is correlated with.

    Correlations do not depend on scale, so W is divided by its largest absolute entry.

    Attributes:
        rows: W, or R when k > d; (m, d) with m = min(k, d).
        basis: Q (k, m) when k > d, else None.
        gram: S = W W^T, (m, m).
        row_sums: r = W 1, (m,).
        diagonal: Diagonal of F, (d,).
    """

    def __init__(self, weight: Tensor) -> None:
        """Reduce a weight (k, d)."""
        self.rows = scaled(weight)
        self.basis: Tensor | None = None
        if weight.shape[0] > weight.shape[1]:
            self.basis, self.rows = torch.linalg.qr(self.rows)
        self.gram = self.rows @ self.rows.T
        self.row_sums = self.rows.sum(1)
        self.diagonal = self.rows.square().sum(0)
        self._total = (self.row_sums @ self.row_sums).item()
        self._squared = self.gram.square().sum().item()
        self._gram_squared = self.gram @ self.gram

    def reduce(self, middle: Tensor) -> Tensor:
        """Bring a k x k matrix to the m x m of the reduced rows."""
        return middle if self.basis is None else self.basis.T @ middle @ self.basis

    def rounding(self, middle: Tensor) -> float:
        """Size |W^T M W| below which it is rounding: M (k, k) acts only on directions that W does not reach."""
        return float(VANISHING * self.gram.norm() * middle.norm())

    def moments(self, middle: Tensor) -> Moments:
        """Moments of F and W^T M W.

        Args:
            middle: M, symmetric (k, k).
        """
        middle = scaled(middle)
        rounding = self.rounding(middle)
        middle = self.reduce(middle)
        product = middle @ self.gram
        squared = (product * product.T).sum().item()
        return self.moments_with(
            total=(self.row_sums @ middle @ self.row_sums).item(),
            squared=squared if squared > rounding**2 else 0.0,
            product=(middle * self._gram_squared).sum().item(),
            diagonal=((middle @ self.rows) * self.rows).sum(0),
        )

    def moments_with(self, total: float, squared: float, product: float, diagonal: Tensor) -> Moments:
        """Moments of F and another symmetric d x d matrix B known by its sums.

        Args:
            total: Sum of B's entries.
            squared: |B|^2.
            product: <F, B>.
            diagonal: B's diagonal, (d,).
        """
        d, own = self.rows.shape[1], self.diagonal
        return Moments(
            Sums(d * d, self._total, total, self._squared, squared, product),
            Sums(
                d,
                own.sum().item(),
                diagonal.sum().item(),
                (own @ own).item(),
                (diagonal @ diagonal).item(),
                (own @ diagonal).item(),
            ),
        )

    def moments_of_product(self, other: Tensor) -> Moments:
        """Moments of F and sym(W^T A), A (k, d): the algebra of FACT, which is not of the form W^T M W.

        With X = W A^T: <F, sym(W^T A)> = <S W, A>, |sym(W^T A)|^2 = (tr(S A A^T) + tr(X X)) / 2 [derived].
        """
        other = scaled(other)
        if self.basis is not None:
            other = self.basis.T @ other
        cross = self.rows @ other.T
        squared = ((self.gram * (other @ other.T)).sum() + (cross * cross.T).sum()).item() / 2
        rounding = VANISHING * self.rows.norm().item() * other.norm().item()
        return self.moments_with(
            total=(self.row_sums @ other.sum(1)).item(),
            squared=squared if squared > rounding**2 else 0.0,
            product=((self.gram @ self.rows) * other).sum().item(),
            diagonal=(self.rows * other).sum(0),
        )
