"""Linear and quadratic forms of two sketches of K, from which correlations at power 1 and their errors are made.

With K1 and K2 two independent sketches, G1 = W^T K1 W and G2 = W^T K2 W, a correlation needs <F, G1>, <F, G2>, <G1, G2>
and the sums of entries; its error needs the same forms of each block of samples, and the derivative of the correlation
by K. Everything is computed from k x k matrices.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nfa.alignment.covariance.blocks import Blocks, inner_products
from nfa.alignment.quantities.feature_matrix import FeatureMatrix, inner

PerSketch = tuple[Tensor, Tensor]  # one tensor for the first sketch, one for the second


@dataclass(frozen=True)
class BlockForms:
    """The forms of each block of samples: S_b, the sum of K_i over the samples i of block b, takes the place of K.

    Attributes:
        products: <F, W^T S_b W>, (number of blocks,) for each sketch.
        sums: Sum of the entries of W^T S_b W, (number of blocks,) for each sketch.
        squared: Sum over blocks of <W^T S1_b W, W^T S2_b W>.
    """

    products: PerSketch
    sums: PerSketch
    squared: float


class AllEntries:
    """Sums over all entries of F = W^T W and of G1, G2 = W^T K1 W, W^T K2 W.

    Attributes:
        count: Number of entries.
        sum_f: Sum of F.
        squared_f: |F|^2.
        products: <F, G1> and <F, G2>.
        sums: Sums of G1 and of G2.
        squared: <G1, G2>.
        whole: <G1, G2> over all entries, also in ``OffDiagonalEntries``.
    """

    def __init__(self, forms: "Forms") -> None:
        """Compute the sums."""
        self.forms = forms
        features, (first, second) = forms.features, forms.products
        g, d = features.shape
        self.count = g * d * d
        self.sum_f, self.squared_f = features.total_of_entries, features.squared
        self.products = [inner(product, features.gram) for product in forms.products]
        self.sums = [features.total(k) for k in forms.reduced]
        self.squared = self.whole = inner(first, second.mT)

    def of_each_block(self) -> BlockForms:
        """Return the forms of each block of samples."""
        forms, features = self.forms, self.forms.features
        gram = forms.unreduced(features.gram)
        return BlockForms(
            forms.of_blocks(features.gram @ features.gram),
            forms.of_blocks(features.row_sums[..., None] * features.row_sums[:, None]),
            sum(first.squared(second, gram) for first, second in forms.blocks),
        )

    def slope(self, by_product: float, by_squared: float, shift: float) -> Tensor:
        """Return by_product d<F, G>/dK - by_squared d|G|^2/dK / 2, (g, m, m), with both forms centred by ``shift``.

        Args:
            by_product: Factor of the derivative of <F, G> - shift sum(F) sum(G).
            by_squared: Factor of half the derivative of |G|^2 - shift sum(G)^2.
            shift: 1 / number of entries, or 0 for forms that are not centred.
        """
        features = self.forms.features
        mean = (self.forms.products[0] + self.forms.products[1]) / 2
        slope = features.gram @ (by_product * features.gram - by_squared * mean)
        centre = shift * (by_squared * sum(self.sums) / 2 - by_product * self.sum_f)
        slope = slope + centre * self.slope_of_sum()
        return (slope + slope.mT) / 2

    def slope_of_sum(self) -> Tensor:
        """Return the derivative of the sum of G's entries by K."""
        sums = self.forms.features.row_sums
        return sums[..., None] * sums[:, None]


class OffDiagonalEntries(AllEntries):
    """The sums of ``AllEntries`` over the off-diagonal entries alone."""

    def __init__(self, forms: "Forms") -> None:
        """Subtract the diagonals from the sums over all entries."""
        super().__init__(forms)
        own, (first, second) = forms.features.diagonal, forms.diagonals
        self.count -= own.numel()
        self.sum_f -= _sum(own)
        self.squared_f -= _sum(own.square())
        self.products = [x - _sum(own * g) for x, g in zip(self.products, forms.diagonals, strict=True)]
        self.sums = [t - _sum(g) for t, g in zip(self.sums, forms.diagonals, strict=True)]
        self.squared -= _sum(first * second)

    def of_each_block(self) -> BlockForms:
        """Return the forms of each block of samples."""
        whole, features = super().of_each_block(), self.forms.features
        weight = self.forms.unreduced_rows()
        diagonals = [
            torch.stack([part.diagonal(weight) for part in parts])
            for parts in (self.forms.blocks.first, self.forms.blocks.second)
        ]
        products = [x - (g * features.diagonal).sum((1, 2)) for x, g in zip(whole.products, diagonals, strict=True)]
        sums = [t - g.sum((1, 2)) for t, g in zip(whole.sums, diagonals, strict=True)]
        squared = whole.squared - (diagonals[0] * diagonals[1]).sum().item()
        return BlockForms((products[0], products[1]), (sums[0], sums[1]), squared)

    def slope(self, by_product: float, by_squared: float, shift: float) -> Tensor:
        """Return the derivative for all entries, minus that for the diagonals."""
        features, (first, second) = self.forms.features, self.forms.diagonals
        columns = by_product * features.diagonal - by_squared * (first + second) / 2
        diagonal = (features.rows * columns[:, None]) @ features.rows.mT
        return super().slope(by_product, by_squared, shift) - diagonal

    def slope_of_sum(self) -> Tensor:
        """Return the derivative of the sum of G's off-diagonal entries by K."""
        return super().slope_of_sum() - self.forms.features.gram


class Forms:
    """F = W^T W and two sketches of K, all in one number type.

    Attributes:
        features: W.
        blocks: K in blocks.
        reduced: K1 and K2 in the space of the reduced rows, (g, m, m).
        products: K1 S and K2 S.
    """

    def __init__(self, weight: Tensor, blocks: Blocks, first: Tensor, second: Tensor, dtype: torch.dtype) -> None:
        """Reduce both sketches, and multiply them by S = W W^T."""
        self.dtype = dtype
        self.features, self.blocks = FeatureMatrix(weight, self.dtype), blocks
        same = first is second
        first = self.features.reduce(first.to(self.dtype))
        self.reduced = first, first if same else self.features.reduce(second.to(self.dtype))
        product = first @ self.features.gram
        self.products = product, product if same else self.reduced[1] @ self.features.gram

    @cached_property
    def diagonals(self) -> PerSketch:
        """Return the diagonals of G1 and G2, (g, d) each."""
        first, second = (((k @ self.features.rows) * self.features.rows).sum(1) for k in self.reduced)
        return first, second

    def unreduced(self, middle: Tensor) -> Tensor:
        """Bring a matrix (g, m, m) of the reduced rows back to (g, k, k)."""
        basis = self.features.basis
        return middle if basis is None else basis @ middle @ basis.mT

    def unreduced_rows(self) -> Tensor:
        """Return W, scaled, (g, k, d)."""
        basis, rows = self.features.basis, self.features.rows
        return rows if basis is None else basis @ rows

    def of_blocks(self, middle: Tensor) -> PerSketch:
        """Compute <middle, S_b> for every block, for a symmetric middle (g, m, m)."""
        whole = self.unreduced(middle)
        first = inner_products(self.blocks.first, whole)
        exact = all(a is b for a, b in self.blocks)
        return first, first if exact else inner_products(self.blocks.second, whole)


def _sum(entries: Tensor) -> float:
    """Sum in float64."""
    return entries.sum(dtype=torch.float64).item()
