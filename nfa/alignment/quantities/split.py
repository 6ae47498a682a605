"""The two factors of UC-NFC: do the directions agree, and do the strengths agree?

Let W = U S V^T, with strengths a_i = s_i^2, kappa_i = u_i^T K u_i and M = S U^T K U S. Then F = V S^2 V^T and
G = V M V^T, so that the cosine at power 1 is a product [derived]:

    UC-NFC = spectral x directional
    spectral    = <a, a o kappa> / (|a| |a o kappa|)    K's weight on W's directions follows their strength
    directional = |diag M|_F / |M|_F                    K is diagonal in W's left singular basis: 1 exactly there

The paper calls this basis the left singular structure of the weights, and K is the covariance of the pre-activation
tangent features: the directional factor is the alignment that the paper's central sentence names. The same holds for
any matrix in place of W, such as the change W - W0 or a velocity.

Equal singular values leave the basis open. The basis is then taken in which K is diagonal, so that K counts as aligned
within such a block: diag M above means the blocks of M on the diagonal. No basis has to be computed for that.
"""

from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt

import torch
from torch import Tensor

from nfa.alignment.quantities.correlation import NFM_ZERO, OTHER_ZERO, bounded
from nfa.alignment.quantities.feature_matrix import DiagonalFeatureMatrix, FeatureMatrix
from nfa.alignment.quantities.left_matrix import LeftMatrix
from nfa.alignment.quantities.values import Value, undefined

SINGLE = torch.finfo(torch.float32).eps
# Arithmetic that makes a matrix orthonormal in its own number type parts its singular values by up to 3 digits.
ARITHMETIC = 16
# Rounding of the entries of an orthonormal matrix parts them by up to 1.2 digits over the root of their number.
ROUNDING = 1.5


def tie_width(weight: Tensor, dtype: torch.dtype | None = None) -> float:
    """Return the distance of two neighbouring singular values of W below which they count as equal.

    The distance is what rounding makes of equal ones, in digits of W's number type times their root mean square: that
    of arithmetic (of float32 at most), or of the entries. The latter shrinks with the number of singular values, as
    their distances do, so that those of a large W in half precision do not all count as equal.

    Args:
        weight: W, (k, d) or (g, k, d).
        dtype: W's number type, where ``weight`` has another one.
    """
    digit = torch.finfo(dtype or weight.dtype).eps
    if digit < SINGLE and torch.equal(weight.float().to(weight), weight):  # made in float32, and converted
        digit = SINGLE
    count = min(weight.shape[-2:])  # of singular values in a block
    size: float = weight.double().norm().item() / sqrt(weight.numel() / max(weight.shape[-2:]))
    return size * max(ROUNDING * digit / sqrt(count), ARITHMETIC * min(digit, SINGLE))


@dataclass(frozen=True, eq=False)
class LeftBasis:
    """The left singular basis of W, with marks on equal singular values.

    Attributes:
        features: W, whose reduced rows (g, m, d) the basis belongs to.
        tie_width: Distance below which two neighbouring singular values count as equal.
    """

    features: FeatureMatrix
    tie_width: float
    _rows: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def strengths(self) -> Tensor:
        """The squared singular values a, ascending in each block, (g, m)."""
        return self.features.spectrum[0].clamp(min=0)

    @property
    def vectors(self) -> Tensor:
        """The left singular vectors u_i in the columns, in the space of the reduced rows, (g, m, m)."""
        return self.features.spectrum[1]

    @cached_property
    def full_vectors(self) -> Tensor:
        """The left singular vectors in the space of h, (g, k, m)."""
        basis = self.features.basis
        return self.vectors if basis is None else basis @ self.vectors

    def strongest_rows(self, count: int) -> Tensor:
        """Rows of U^T W in the order of their strengths, the strongest first, (g, count, d)."""
        if count not in self._rows:
            self._rows[count] = self.vectors.flip(2)[..., :count].mT @ self.features.rows
        return self._rows[count]

    @cached_property
    def own(self) -> DiagonalFeatureMatrix:
        """F in this basis, the strongest direction first."""
        strengths = self.strengths.flip(1)
        return DiagonalFeatureMatrix(self.features, strengths, self.strongest_rows(strengths.shape[1]))

    @cached_property
    def left(self) -> LeftMatrix:
        """S = W W^T."""
        return LeftMatrix(self.features)

    @cached_property
    def groups(self) -> Tensor:
        """Number of the group of equal singular values that each belongs to, (g, m)."""
        singular = self.strengths.sqrt()
        apart = singular.diff(dim=1) > self.tie_width / self.features.scale
        return torch.nn.functional.pad(apart.long().cumsum(1), (1, 0))

    @property
    def is_level(self) -> bool:
        """True if the rows of W are orthonormal up to rounding and a factor for each block."""
        return self.features.basis is None and not bool(self.groups.any())

    @cached_property
    def tied(self) -> Tensor | None:
        """Marks pairs of equal singular values, the diagonal among them, (g, m, m); None where all differ."""
        marks = self.groups[..., None] == self.groups[:, None]
        return None if int(marks.sum()) == self.groups.numel() else marks

    def turned(self, covariance: Tensor) -> Tensor:
        """Compute U^T K U, (g, m, m), diagonal within groups of equal singular values, from K reduced to (g, m, m)."""
        inner: Tensor = self.vectors.mT @ covariance @ self.vectors
        if self.tied is None:
            return inner
        within = torch.diag_embed(torch.ones_like(self.strengths))
        for block, groups in enumerate(self.groups):
            names, sizes = groups.unique(return_counts=True)
            for group in names[sizes > 1]:
                members = (groups == group).nonzero()
                within[block, members, members.T] = torch.linalg.eigh(inner[block, members, members.T]).eigenvectors
        return within.mT @ inner @ within

    def middle(self, covariance: Tensor) -> Tensor:
        """Compute M = S U^T K U S, (g, m, m), from K reduced to (g, m, m)."""
        root = self.strengths.sqrt()
        product: Tensor = root[..., None] * (self.vectors.mT @ covariance @ self.vectors) * root[:, None]
        return product

    def diagonal_blocks(self, middle: Tensor) -> Tensor:
        """Cut out M within groups of equal singular values: its diagonal (g, m), or its blocks (g, m, m)."""
        return middle.diagonal(dim1=-2, dim2=-1) if self.tied is None else middle * self.tied


@dataclass(frozen=True)
class Factors:
    """The sums that both factors are made of.

    Attributes:
        strengths: |a|^2.
        product: <a, a o kappa>.
        aligned: Sum of the squares of M on its diagonal blocks.
        whole: |M|_F^2.
    """

    strengths: float
    product: float
    aligned: float
    whole: float

    @classmethod
    def of(cls, basis: LeftBasis, middle: Tensor) -> "Factors":
        """Sum over the entries of M, (g, m, m)."""
        return cls.of_each(basis, middle[None])[0]

    @classmethod
    def of_each(cls, basis: LeftBasis, middles: Tensor) -> list["Factors"]:
        """Sum over the entries of each of several matrices M, (draws, g, m, m)."""
        a, diagonals = basis.strengths, middles.diagonal(dim1=-2, dim2=-1)
        products, aligned, whole = (
            entries.flatten(1).sum(1).tolist()
            for entries in (a * diagonals, basis.diagonal_blocks(middles).square(), middles.square())
        )
        strengths = a.square().sum().item()
        return [cls(strengths, *sums) for sums in zip(products, aligned, whole, strict=True)]

    def values(self, rounding: float = 0.0) -> dict[str, Value]:
        """Return both factors, undefined where a matrix is zero.

        Args:
            rounding: Size of |M| up to which M is rounding.
        """
        if self.strengths <= 0 or self.whole <= rounding**2 or self.aligned <= 0:
            return dict.fromkeys(FACTORS, undefined(NFM_ZERO if self.strengths <= 0 else OTHER_ZERO))
        return {
            "directional": Value(bounded(sqrt(self.aligned / self.whole))),
            "spectral": Value(bounded(self.product / sqrt(self.strengths * self.aligned))),
        }


FACTORS = ("directional", "spectral")


def split(basis: LeftBasis, covariance: Tensor) -> dict[str, Value]:
    """Split UC-NFC (cosine, power 1) into its directional and its spectral factor.

    Args:
        basis: The left singular basis of W.
        covariance: K, (k, k) or (g, k, k) float64.

    Returns:
        "directional" and "spectral"; their product is the cosine of W^T W and W^T K W.

    Example:
        >>> weight = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> basis = LeftBasis(FeatureMatrix(weight), tie_width(weight))
        >>> covariance = torch.tensor([[1.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
        >>> factors = split(basis, covariance)  # M = diag(4, 4): K's directions are those of W, its strengths are not
        >>> round(factors["directional"].value, 12), round(factors["spectral"].value, 2)
        (1.0, 0.86)
    """
    features = basis.features
    middle = basis.middle(features.reduce(covariance))
    return Factors.of(basis, middle).values(features.rounding(covariance))
