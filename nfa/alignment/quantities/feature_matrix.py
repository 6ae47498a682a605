"""The neural feature matrix F = W^T W (d x d), correlated without being formed when d > k.

With S = W W^T, r = W 1 and M any symmetric k x k matrix [derived]:

    <F, W^T M W> = tr(M S S)        <W^T M W, W^T N W> = tr(M S N S)        |F|^2 = tr(S S)
    sums of entries: r^T r and r^T M r        diagonals: |w_j|^2 and w_j^T M w_j for each column w_j of W

When k > d, W = Q R with orthonormal columns of Q (k x d), so that W^T M W = R^T (Q^T M Q) R and everything is d x d.
R is called the reduced rows.

A grouped convolution has a block-diagonal W: g blocks (k, d) that see different inputs. All d x d matrices are then
block-diagonal too. Their correlations run over the entries of the blocks, so every sum here is over the blocks.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from nfa.alignment.covariance.products import add_products_, mirrored_
from nfa.alignment.quantities.correlation import Moments, Numbers, Sums, moments_of_each
from nfa.alignment.quantities.values import Value
from nfa.conventions import CORRELATIONS

VANISHING = 1e-14  # |W^T M W| below this share of |S| |M|, its largest possible size, is rounding in float64
FAINT = 0.2  # the same in float32, divided by the root of the side of S, as rounding has random signs
CANCELLING = 3e-2  # share of the squares below which a variance is computed in float64
EXTREME_SINGLE = 1e9  # largest entry of W, or its inverse, beyond which float32 may not hold the squares
EXTREME = 1e30  # largest entry, or its inverse, beyond which float64 may not hold fourth powers times k^4
COLUMNS_AT_ONCE = 512  # columns of W that are brought to another number type together


def correlations(weight: Tensor, middle: Tensor, names: Sequence[str] = CORRELATIONS) -> dict[str, Value]:
    """Correlate W^T W with W^T M W.

    A float32 W is multiplied in float32 and summed in float64 where nothing cancels: the result differs from that of
    the float64 algebra by less than the rounding of K itself. Everything else is float64 throughout.

    Args:
        weight: W, (k, d) or (g, k, d), in any floating-point type.
        middle: M, symmetric (k, k) or (g, k, k) float64, e.g. K, or ``power_middle(W, K, 0.5)``.
        names: Correlations to compute; "offdiagonal" costs as much as the others together.

    Returns:
        Correlation name -> value; NaN with its reason where it is undefined.

    Example:
        >>> weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=torch.float64)
        >>> round(correlations(weight, torch.eye(2, dtype=torch.float64))["cosine"].value, 6)  # K = I gives G = F
        1.0
    """
    if weight.dtype == torch.float32 and 1 / EXTREME_SINGLE < largest(weight) < EXTREME_SINGLE:
        moments = FeatureMatrix(weight, torch.float32).moments(middle, names)
        if moments.remaining(names) > CANCELLING:
            return moments.correlations(names)
    return FeatureMatrix(weight).moments(middle, names).correlations(names)


def scaled(matrix: Tensor, extreme: float = EXTREME) -> Tensor:
    """Divide a matrix whose products could overflow or vanish by its largest absolute entry; zero stays zero."""
    size = largest(matrix)
    return matrix if 1 / extreme < size < extreme else matrix / size


def inner(left: Tensor, right: Tensor) -> float:
    """Compute <left, right>: sums within a row in the matrices' number type, the sum over rows in float64."""
    return float((left * right).sum(-1).sum(dtype=torch.float64))


def largest(matrix: Tensor) -> float:
    """Return the largest absolute entry, or 1 where all are zero."""
    low, high = matrix.aminmax()
    return max(-low.item(), high.item()) or 1.0


def blocked(matrix: Tensor) -> Tensor:
    """Give a matrix the leading axis of its blocks: (k, d) -> (1, k, d); (g, k, d) stays."""
    return matrix[None] if matrix.dim() == 2 else matrix


class FeatureMatrix:
    """F = W^T W, from W scaled and reduced once for all matrices that F is correlated with.

    Correlations do not depend on scale, so W is divided by its largest absolute entry.

    Attributes:
        scale: The largest absolute entry of W, by which W is divided.
        basis: Q (g, k, m) when k > d, else None.
        gram: S = W W^T, (g, m, m).
        row_sums: r = W 1, (g, m).
        total_of_entries: Sum of the entries of F.
        squared: |F|^2.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype = torch.float64) -> None:
        """Reduce a weight (k, d) or (g, k, d) of any floating-point type; all attributes have the type ``dtype``."""
        self._weight = blocked(weight)
        self.scale = largest(self._weight)
        self.basis: Tensor | None = None
        self._reduced: tuple[Tensor, Tensor] | None = None  # a matrix M, and Q^T M Q
        if self._weight.shape[1] > self._weight.shape[2]:
            basis, rows = torch.linalg.qr(self._weight.double() / self.scale)
            self.basis, self.rows = basis.to(dtype), rows.to(dtype)
            self.gram, self.row_sums = self.rows @ self.rows.mT, self.rows.sum(2)
        else:
            self.gram, self.row_sums = _gram(self._weight, self.scale, dtype)
        self.total_of_entries = self.row_sums.square().sum(dtype=torch.float64).item()
        self.squared = inner(self.gram, self.gram)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of blocks g, and side d of each block of F."""
        return self._weight.shape[0], self._weight.shape[2]

    @property
    def variation(self) -> float:
        """Smallest share of |F|^2 that is left when the mean is subtracted, over all entries or off the diagonal."""
        g, d = self.shape
        trace, squares = self.diagonal.sum().item(), self.diagonal.square().sum().item()
        every = self.squared - self.total_of_entries**2 / (g * d * d)
        rest = self.squared - squares - (self.total_of_entries - trace) ** 2 / max(g * d * (d - 1), 1)
        return min(every, rest) / self.squared if self.squared > 0 else 0.0

    @cached_property
    def rows(self) -> Tensor:
        """W, or R when k > d; (g, m, d) with m = min(k, d)."""
        return self._weight.to(self.gram.dtype) / self.scale

    @cached_property
    def diagonal(self) -> Tensor:
        """Diagonal of F, (g, d)."""
        return self.rows.square().sum(1)

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of S, ascending in each block, (g, m), and its eigenvectors, (g, m, m)."""
        values, vectors = torch.linalg.eigh(self.gram)
        return values, vectors

    @cached_property
    def whole_rows(self) -> Tensor:
        """W divided by its scale, also when k > d, (g, k, d)."""
        return self.rows if self.basis is None else self._weight.to(self.gram.dtype) / self.scale

    def times_gram(self, columns: Tensor) -> Tensor:
        """Multiply S with columns (g, m, c)."""
        return self.gram @ columns

    def reduce(self, middle: Tensor) -> Tensor:
        """Reduce a matrix M, (k, k) or (g, k, k), to Q^T M Q, (g, m, m); the result is kept until M is another one."""
        if self.basis is None:
            return blocked(middle)
        if self._reduced is None or self._reduced[0] is not middle:
            self._reduced = middle, self.basis.mT @ blocked(middle) @ self.basis
        return self._reduced[1]

    def rounding(self, middle: Tensor) -> float:
        """Return the size of |W^T M W| below which it is rounding: M acts only on directions that W does not reach."""
        share = VANISHING if self.gram.dtype == torch.float64 else FAINT / self.gram.shape[-1] ** 0.5
        return share * float(self.gram.norm()) * float(middle.norm())

    def moments(self, middle: Tensor, names: Sequence[str] = CORRELATIONS) -> Moments:
        """Compute the moments of F and W^T M W.

        Args:
            middle: M, symmetric (k, k) or (g, k, k).
            names: Correlations that need the moments.
        """
        dtype = self.gram.dtype
        middle = scaled(middle, EXTREME if dtype == torch.float64 else EXTREME_SINGLE).to(dtype)
        rounding = self.rounding(middle)
        middle = self.reduce(middle)
        product = middle @ self.gram
        squared = inner(product, product.mT)
        return self.moments_with(
            total=self.total(middle),
            squared=squared if squared > rounding**2 else 0.0,
            product=inner(product, self.gram),
            diagonal=((middle @ self.rows) * self.rows).sum(1) if "offdiagonal" in names else None,
        )

    def total(self, middle: Tensor) -> float:
        """Sum the entries of W^T M W, with M reduced to (g, m, m)."""
        return float((self.row_sums[:, None] @ middle @ self.row_sums[..., None]).sum())

    def moments_with(self, total: float, squared: float, product: float, diagonal: Tensor | None) -> Moments:
        """Return the moments of F and another symmetric d x d matrix B that is known by its sums.

        Args:
            total: Sum of B's entries.
            squared: |B|^2.
            product: <F, B>.
            diagonal: B's diagonal, (g, d); None where no off-diagonal correlation is needed.
        """
        if diagonal is not None:
            return self.moments_of_each([total], [squared], [product], diagonal[None])[0]
        g, d = self.shape
        return Moments(Sums(g * d * d, self.total_of_entries, total, self.squared, squared, product), None)

    def moments_of_each(
        self,
        totals: Numbers,
        squared: Numbers,
        products: Numbers,
        diagonals: Tensor | tuple[Numbers, Numbers, Numbers],
    ) -> list[Moments]:
        """Return the moments of F and each of several matrices B, as ``moments_with`` does for one.

        Args:
            totals: Sum of the entries of each B, (draws,).
            squared: |B|^2 of each, (draws,).
            products: <F, B> of each, (draws,).
            diagonals: The diagonal of each, (draws, g, d), or the three sums of each over the diagonal: B, B^2 and F B.
        """
        g, d = self.shape
        whole = g * d * d, self.total_of_entries, self.squared
        return moments_of_each(whole, self.diagonal, totals, squared, products, diagonals)

    def moments_of_product(self, other: Tensor) -> Moments:
        """Compute the moments of F and sym(W^T A), A (k, d) or (g, k, d), for FACT, which is not of the form W^T M W.

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


class DiagonalFeatureMatrix(FeatureMatrix):
    """F = W^T W from U^T W, the rows of W in its left singular basis U, where S is diagonal."""

    def __init__(self, features: FeatureMatrix, strengths: Tensor, rows: Tensor) -> None:
        """Take F, the diagonal of U^T S U, (g, m), and U^T W, (g, m, d)."""
        self._weight, self.scale, self.basis, self._reduced = features._weight, features.scale, None, None
        self.total_of_entries, self.squared, self.diagonal = (
            features.total_of_entries,
            features.squared,
            features.diagonal,
        )
        self.strengths, self.rows, self.row_sums = strengths, rows, rows.sum(2)
        self.gram = strengths.diag_embed()

    def times_gram(self, columns: Tensor) -> Tensor:
        """Multiply U^T S U with columns (g, m, c)."""
        return self.strengths[..., None] * columns


def _gram(weight: Tensor, scale: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Compute S = W W^T and r = W 1 of a weight (g, k, d) divided by its scale, from a few columns of W at a time.

    S is divided afterwards, as it has fewer entries, unless squares of W could overflow or vanish.
    """
    g, k, d = weight.shape
    extreme = EXTREME if dtype == torch.float64 else EXTREME_SINGLE
    first, last = (1.0, scale) if 1 / extreme < scale < extreme else (scale, 1.0)
    total = torch.zeros(g, k, k, dtype=dtype)
    sums = torch.zeros(g, k, dtype=torch.float64)
    for start in range(0, d, COLUMNS_AT_ONCE):
        columns = weight[..., start : start + COLUMNS_AT_ONCE].to(dtype)
        columns = columns if first == 1 else columns / first
        sums += columns.sum(2)
        add_products_(total, columns.mT)
    return mirrored_(total).div_(last).div_(last), sums.div_(last).to(dtype)
