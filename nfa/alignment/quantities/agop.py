"""Powers and spectrum of G = W^T K W, the average gradient outer product, by k-space algebra.

With any factor K = B B^T, let B^T S B = E diag(mu) E^T, S = W W^T. Then G has the eigenvalues mu and the eigenvectors
W^T B e_i / sqrt(mu_i), and for a general power [derived]

    G^s = W^T M W,    M = B (B^T S B)^(s-1) B^T        (pseudo-inverse)

One eigendecomposition of K and one of B^T S B are enough for all powers and the spectrum.

Cut-offs: an eigenvalue of K below 4 * resolution * (the largest) is rounding of the network's number type and counts
as zero (null directions of a rank-10 K that was summed in float32 had eigenvalues up to 3e-8 times the largest). An
eigenvalue of K or B^T S B below k * 2.2e-16 * (the largest) counts as zero, too. At small powers this matters: a
relative 1e-8 to the power 1/6 is .05. Power 1 needs no cut-off.
"""

from functools import cached_property

import torch
from torch import Tensor

from nfa.alignment.covariance.layer_covariances import DOUBLE
from nfa.alignment.quantities.correlation import Moments
from nfa.alignment.quantities.feature_matrix import FeatureMatrix, blocked, scaled


def factor(covariance: Tensor, resolution: float = DOUBLE) -> Tensor:
    """Factor K = B B^T, with the eigenvectors whose eigenvalues are above the cut-off.

    Args:
        covariance: K, (..., k, k) symmetric, positive semi-definite up to rounding.
        resolution: Relative rounding of K's eigenvalues.

    Returns:
        B, (..., k, rank), with the largest rank of the blocks; columns beyond a block's own rank are zero.
    """
    values, vectors = torch.linalg.eigh(covariance)
    return _root(values, vectors, resolution)


def _root(values: Tensor, vectors: Tensor, resolution: float) -> Tensor:
    """Scale eigenvectors (..., k, k) by the roots of their eigenvalues, and drop those below the cut-off."""
    keep = significant(values, resolution)
    used = keep.reshape(-1, keep.shape[-1]).any(0)
    root: Tensor = (vectors * torch.where(keep, values, 0).sqrt()[..., None, :])[..., used]
    return root


def significant(eigenvalues: Tensor, resolution: float = DOUBLE) -> Tensor:
    """Mark the eigenvalues (..., k) of a positive semi-definite matrix that are more than rounding of the largest.

    The eigenvalues of g blocks are those of one block-diagonal matrix, so the largest is that of all blocks.
    """
    if eigenvalues.numel() == 0:
        return torch.zeros_like(eigenvalues, dtype=torch.bool)
    return eigenvalues > max(4 * resolution, eigenvalues.shape[-1] * DOUBLE) * eigenvalues.max().clamp(min=0)


def power_middle(weight: Tensor, covariance: Tensor, exponent: float, resolution: float = DOUBLE) -> Tensor:
    """Find M with (W^T K W)^exponent = W^T M W.

    Args:
        weight: W, (k, d) or (g, k, d) float64.
        covariance: K, (k, k) or (g, k, k) float64.
        exponent: Power of the matrix, more than 0.
        resolution: Relative rounding of K's eigenvalues.

    Returns:
        M, shaped as K; K itself for power 1.

    Example:
        >>> weight, covariance = torch.diag(torch.tensor([1.0, 2.0])), torch.diag(torch.tensor([4.0, 9.0]))
        >>> weight.T @ power_middle(weight, covariance, 0.5) @ weight  # the root of diag(4, 36)
        tensor([[2., 0.],
                [0., 6.]])
    """
    if exponent == 1:
        return covariance
    root = factor(covariance, resolution)
    values, vectors = torch.linalg.eigh(root.mT @ weight @ weight.mT @ root)
    columns = root @ vectors
    middle: Tensor = (columns * _power(values, significant(values), exponent - 1)[..., None, :]) @ columns.mT
    return middle


def _power(values: Tensor, keep: Tensor, exponent: float) -> Tensor:
    """Raise the kept entries to a power, and set the others to 0."""
    return torch.where(keep, torch.where(keep, values, 1) ** exponent, 0)


class Middle:
    """K with its eigendecomposition, which is computed once for all matrices in place of W.

    Attributes:
        matrix: K, (g, k, k) float64, scaled.
        resolution: Relative rounding of its eigenvalues.
    """

    def __init__(self, covariance: Tensor, resolution: float) -> None:
        """Take K, (k, k) or (g, k, k), and the relative rounding of its eigenvalues."""
        self.matrix, self.resolution = scaled(blocked(covariance)), resolution

    @cached_property
    def spectrum(self) -> Tensor:
        """Eigenvalues, ascending in each block, (g, k)."""
        return self.eigen[0]

    @cached_property
    def eigen(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues, ascending in each block, (g, k), and eigenvectors of K, (g, k, k)."""
        values, vectors = torch.linalg.eigh(self.matrix)
        return values, vectors

    @cached_property
    def _root(self) -> Tensor:
        """Factor B with K = B B^T."""
        return _root(*self.eigen, self.resolution)

    def root(self, features: FeatureMatrix) -> Tensor:
        """Factor K = B B^T in the space of the reduced rows; B is (g, m, rank)."""
        return self._root if features.basis is None else factor(features.reduce(self.matrix), self.resolution)


class Agop:
    """G = W^T K W, given by its eigenvalues and eigenvectors, up to a positive factor.

    Attributes:
        features: W, scaled and reduced.
        root: B with K = B B^T in the reduced space, (g, m, rank).
        values: Eigenvalues mu of G, ascending in each block, 0 where they are rounding, (g, rank).
        kept: Marks the eigenvalues that are more than rounding, (g, rank).
    """

    def __init__(self, features: FeatureMatrix, root: Tensor, rounding: float) -> None:
        """Decompose G from a factor of the reduced K; eigenvalues up to ``rounding`` count as zero."""
        self.features, self.root = features, root
        values, self._vectors = torch.linalg.eigh(root.mT @ features.times_gram(root))
        self.kept = significant(values) & (values > rounding)
        self.values = torch.where(self.kept, values, 0)

    @classmethod
    def of(cls, features: FeatureMatrix, middle: Middle) -> "Agop":
        """Decompose G from K."""
        return cls(features, middle.root(features), features.rounding(middle.matrix))

    @cached_property
    def middle_vectors(self) -> Tensor:
        """B e_i, (g, m, rank): W^T times these are eigenvectors of G times sqrt(mu_i); zero where mu_i is rounding."""
        columns: Tensor = self.root @ self._vectors * self.kept[:, None]
        return columns

    @cached_property
    def weights_of_power(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each eigenvector z_i = W^T B e_i of G: 1^T z_i, z_i^T F z_i, and the squares of its entries."""
        inner = self.features.times_gram(self.middle_vectors)
        entries = self.middle_vectors.mT @ self.features.rows
        sums = (self.features.row_sums[:, None] @ self.middle_vectors)[:, 0]
        return sums, inner.square().sum(1), entries.square_()

    def power_moments(self, exponent: float) -> Moments:
        """Moments of F and G^exponent = sum_i mu_i^(exponent - 1) z_i z_i^T."""
        sums, quadratic, squares = self.weights_of_power
        weights = _power(self.values, self.kept, exponent - 1)
        return self.features.moments_with(
            total=(weights * sums.square()).sum().item(),
            squared=self.values.pow(2 * exponent).sum().item(),
            product=(weights * quadratic).sum().item(),
            diagonal=(weights[:, None] @ squares)[:, 0],
        )
