"""S = W W^T, correlated with other k x k matrices from sums over their entries."""

from functools import cached_property

from torch import Tensor

from nfa.alignment.quantities.correlation import Moments, Numbers, moments_of_each
from nfa.alignment.quantities.feature_matrix import FeatureMatrix


class LeftMatrix:
    """S = W W^T, k x k, up to a positive factor, with the sums over its entries.

    Attributes:
        features: W.
    """

    def __init__(self, features: FeatureMatrix) -> None:
        """Take W; S is computed when it is first needed."""
        self.features = features

    @cached_property
    def matrix(self) -> Tensor:
        """S, (g, k, k)."""
        rows = self.features.whole_rows
        return self.features.gram if self.features.basis is None else rows @ rows.mT

    @cached_property
    def diagonal(self) -> Tensor:
        """Diagonal of S, (g, k)."""
        return self.features.whole_rows.square().sum(2)

    @cached_property
    def total(self) -> float:
        """Sum of the entries of S."""
        return self.features.whole_rows.sum(1).square().sum().item()

    def moments(self, total: float, squared: float, product: float, diagonal: Tensor) -> Moments:
        """Return the moments of S and another symmetric matrix A that is known by its sums.

        Args:
            total: Sum of A's entries.
            squared: |A|^2.
            product: <S, A>.
            diagonal: A's diagonal, (g, k).
        """
        return self.moments_of_each([total], [squared], [product], diagonal[None])[0]

    def moments_of_each(self, totals: Numbers, squared: Numbers, products: Numbers, diagonals: Tensor) -> list[Moments]:
        """Return the moments of S and each of several matrices A, as ``moments`` does for one.

        Args:
            totals: Sum of the entries of each A, (draws,).
            squared: |A|^2 of each, (draws,).
            products: <S, A> of each, (draws,).
            diagonals: The diagonal of each, (draws, g, k).
        """
        g, k = self.diagonal.shape
        whole = g * k * k, self.total, self.features.squared
        return moments_of_each(whole, self.diagonal, totals, squared, products, diagonals)
