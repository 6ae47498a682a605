"""The neural feature matrix F = W^T W (d x d), correlated without ever being formed when d > k.

With S = W W^T, r = W 1 and M any symmetric k x k matrix [derived]:

    <F, W^T M W> = tr(M S S)        <W^T M W, W^T N W> = tr(M S N S)        |F|^2 = tr(S S)
    sums of entries: r^T r and r^T M r        diagonals: |w_j|^2 and w_j^T M w_j for each column w_j of W

When k > d, W = Q R (Q: k x d with orthonormal columns), so that W^T M W = R^T (Q^T M Q) R and everything is d x d.

A grouped convolution has a block-diagonal W: g blocks (k, d) that see different inputs. All d x d matrices are then
block-diagonal too, their correlations run over the entries of the blocks, and every sum here is over the blocks.
"""

from copy import copy

import torch
from torch import Tensor

from nfa.alignment.correlation import Moments, Sums
from nfa.alignment.values import Value

VANISHING = 1e-14  # share of |S| |M|, the largest that |W^T M W| can be


def correlations(weight: Tensor, middle: Tensor) -> dict[str, Value]:
    """rho(W^T W, W^T M W) in every correlation.

    Args:
        weight: W, (k, d) or (g, k, d) float64.
        middle: M, symmetric (k, k) or (g, k, k) float64, e.g. K, or ``power_middle(W, K, 0.5)``.

    Returns:
        Correlation name -> value; NaN with its reason where it is undefined.
    """
    return FeatureMatrix(weight).moments(middle).correlations()


def scaled(matrix: Tensor) -> Tensor:
    """Divide a matrix by its largest absolute entry, so that no product of it overflows; zero stays zero."""
    largest = matrix.abs().max()
    return matrix / largest if largest > 0 else matrix


def blocked(matrix: Tensor) -> Tensor:
    """Give a matrix the leading axis of its blocks: (k, d) -> (1, k, d); (g, k, d) stays."""
    return matrix[None] if matrix.dim() == 2 else matrix


class FeatureMatrix:
    """W, scaled and reduced once, for all that it is correlated with.

    Correlations do not depend on scale, so W is divided by its largest absolute entry.

    Attributes:
        rows: W, or R when k > d; (g, m, d) with m = min(k, d).
        basis: Q (g, k, m) when k > d, else None.
        gram: S = W W^T, (g, m, m).
        row_sums: r = W 1, (g, m).
        diagonal: Diagonal of F, (g, d).
    """

    def __init__(self, weight: Tensor) -> None:
        """Reduce a weight (k, d) or (g, k, d)."""
        self.rows = scaled(blocked(weight))
        self.basis: Tensor | None = None
        if self.rows.shape[1] > self.rows.shape[2]:
            self.basis, self.rows = torch.linalg.qr(self.rows)
        self.gram = self.rows @ self.rows.mT
        self.row_sums = self.rows.sum(2)
        self.diagonal = self.rows.square().sum(1)
        self._total = self.row_sums.square().sum().item()
        self._squared = self.gram.square().sum().item()

    def to(self, dtype: torch.dtype) -> "FeatureMatrix":
        """The same in another number type."""
        other = copy(self)
        other.rows, other.gram = self.rows.to(dtype), self.gram.to(dtype)
        other.row_sums, other.diagonal = self.row_sums.to(dtype), self.diagonal.to(dtype)
        other.basis = None if self.basis is None else self.basis.to(dtype)
        return other

    def reduce(self, middle: Tensor) -> Tensor:
        """Bring a matrix (k, k) or (g, k, k) to the (g, m, m) of the reduced rows."""
        middle = blocked(middle)
        return middle if self.basis is None else self.basis.mT @ middle @ self.basis

    def rounding(self, middle: Tensor) -> float:
        """Size |W^T M W| below which it is rounding: M acts only on directions that W does not reach."""
        return float(VANISHING * self.gram.norm() * middle.norm())

    def moments(self, middle: Tensor) -> Moments:
        """Moments of F and W^T M W.

        Args:
            middle: M, symmetric (k, k) or (g, k, k).
        """
        middle = scaled(middle)
        rounding = self.rounding(middle)
        middle = self.reduce(middle)
        product = middle @ self.gram
        squared = (product * product.mT).sum().item()
        return self.moments_with(
            total=self.total(middle),
            squared=squared if squared > rounding**2 else 0.0,
            product=(product * self.gram).sum().item(),
            diagonal=((middle @ self.rows) * self.rows).sum(1),
        )

    def total(self, middle: Tensor) -> float:
        """Sum of the entries of W^T M W, M reduced to (g, m, m)."""
        return float((self.row_sums[:, None] @ middle @ self.row_sums[..., None]).sum())

    def moments_with(self, total: float, squared: float, product: float, diagonal: Tensor) -> Moments:
        """Moments of F and another symmetric d x d matrix B known by its sums.

        Args:
            total: Sum of B's entries.
            squared: |B|^2.
            product: <F, B>.
            diagonal: B's diagonal, (g, d).
        """
        return self.moments_of(
            total,
            squared,
            product,
            diagonal.sum().item(),
            diagonal.square().sum().item(),
            (self.diagonal * diagonal).sum().item(),
        )

    def moments_of(
        self, total: float, squared: float, product: float, trace: float, diagonal_squared: float, diagonals: float
    ) -> Moments:
        """The same, with the sums over B's diagonal: of its entries, their squares, their products with F's."""
        g, d = self.diagonal.shape
        own, own_squared = self.diagonal.sum().item(), self.diagonal.square().sum().item()
        return Moments(
            Sums(g * d * d, self._total, total, self._squared, squared, product),
            Sums(g * d, own, trace, own_squared, diagonal_squared, diagonals),
        )

    def moments_of_product(self, other: Tensor) -> Moments:
        """Moments of F and sym(W^T A), A (k, d) or (g, k, d): the algebra of FACT, which is not of the form W^T M W.

        With X = W A^T: <F, sym(W^T A)> = <S W, A>, |sym(W^T A)|^2 = (tr(S A A^T) + tr(X X)) / 2 [derived].
        """
        other = scaled(blocked(other))
        if self.basis is not None:
            other = self.basis.mT @ other
        cross = self.rows @ other.mT
        squared = ((self.gram * (other @ other.mT)).sum() + (cross * cross.mT).sum()).item() / 2
        rounding = VANISHING * self.rows.norm().item() * other.norm().item()
        return self.moments_with(
            total=(self.row_sums * other.sum(2)).sum().item(),
            squared=squared if squared > rounding**2 else 0.0,
            product=((self.gram @ self.rows) * other).sum().item(),
            diagonal=(self.rows * other).sum(1),
        )
