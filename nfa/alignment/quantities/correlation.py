"""Three correlations of two symmetric matrices, from a handful of sums over their entries.

cosine       <A, B> / (|A| |B|)                               (Beaglehole et al., arXiv 2402.05271)
pearson      the same after subtracting each matrix's mean entry      (the authors' public code)
offdiagonal  pearson over the off-diagonal entries alone

The sums are known without forming the matrices, see ``nfa.alignment.quantities.feature_matrix``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.values import Value, undefined
from nfa.conventions import CORRELATIONS

Numbers = Tensor | Sequence[float]  # one number for each of several matrices

# A variance is a difference of sums. Below this share of the sum it is rounding, which is 1e-16 per term.
NEGLIGIBLE = 1e-11

NFM_ZERO = reason("the NFM is zero")
OTHER_ZERO = reason("the matrix compared with the NFM is zero")
EQUAL = reason("all entries of a matrix are equal")
EQUAL_OFF_DIAGONAL = reason("the off-diagonal entries of a matrix are all equal")
NO_OFF_DIAGONAL = reason("a 1 x 1 matrix has no off-diagonal entries")


@dataclass(frozen=True)
class Sums:
    """Sums over a set of entries of A and of B.

    Attributes:
        count: Number of entries.
        a: sum A.
        b: sum B.
        aa: sum A^2.
        bb: sum B^2.
        ab: sum A B.
    """

    count: int
    a: float
    b: float
    aa: float
    bb: float
    ab: float

    def __sub__(self, part: "Sums") -> "Sums":
        """Return the sums without the entries of ``part``."""
        return Sums(
            self.count - part.count,
            self.a - part.a,
            self.b - part.b,
            self.aa - part.aa,
            self.bb - part.bb,
            self.ab - part.ab,
        )


@dataclass(frozen=True)
class Moments:
    """The sums over two d x d matrices from which all three correlations follow.

    Attributes:
        every: Sums over all d^2 entries.
        diagonal: Sums over the d diagonal entries; None where no off-diagonal correlation is needed.
    """

    every: Sums
    diagonal: Sums | None

    def correlations(self, names: Sequence[str] = CORRELATIONS) -> dict[str, Value]:
        """Return correlation name -> value; undefined where a matrix is zero or its entries do not vary."""
        every = self.every
        if every.aa <= 0 or every.bb <= 0:
            value = undefined(NFM_ZERO if every.aa <= 0 else OTHER_ZERO)
            return dict.fromkeys(names, value)
        return {name: self._correlation(name) for name in names}

    def remaining(self, names: Sequence[str]) -> float:
        """Return the smallest ratio of a variance to the sum of squares, over the given correlations."""
        every = self.every
        if every.aa <= 0 or every.bb <= 0:
            return 0.0
        shares = [1.0]
        for name, over in (("pearson", every), ("offdiagonal", self.diagonal and every - self.diagonal)):
            if name in names and over is not None and over.count > 0:
                shares += [(over.aa - over.a**2 / over.count) / every.aa, (over.bb - over.b**2 / over.count) / every.bb]
        return min(shares)

    def _correlation(self, name: str) -> Value:
        """Compute one correlation of two matrices that are not zero."""
        every = self.every
        if name == "cosine":
            return Value(bounded(every.ab / sqrt(every.aa * every.bb)))
        if name == "pearson":
            return _pearson(every, every, EQUAL)
        assert self.diagonal is not None
        return _pearson(every - self.diagonal, every, EQUAL_OFF_DIAGONAL)


def moments_of_each(
    whole: tuple[int, float, float],
    own: Tensor,
    totals: Numbers,
    squared: Numbers,
    products: Numbers,
    diagonals: Tensor | tuple[Numbers, Numbers, Numbers],
) -> list[Moments]:
    """Return the moments of one matrix A and each of several matrices B, from their sums and diagonals.

    Args:
        whole: Number of entries, sum A, and sum A^2.
        own: Diagonal of A, (g, d).
        totals: sum B of each, (draws,).
        squared: sum B^2 of each, (draws,).
        products: sum A B of each, (draws,).
        diagonals: Diagonal of each B, (draws, g, d), or the three sums of each over the diagonal: B, B^2 and A B.
    """
    count, a, aa = whole
    on_diagonal = own.numel(), own.sum().item(), own.square().sum().item()
    if isinstance(diagonals, Tensor):
        entries = (diagonals, diagonals.square(), own * diagonals)
        on_diagonals: list[Numbers] = [each.flatten(1).sum(1) for each in entries]
    else:
        on_diagonals = list(diagonals)
    columns = (
        numbers.tolist() if isinstance(numbers, Tensor) else numbers
        for numbers in (totals, squared, products, *on_diagonals)
    )
    return [
        Moments(
            Sums(count, a, b, aa, bb, ab),
            Sums(on_diagonal[0], on_diagonal[1], diagonal_b, on_diagonal[2], diagonal_bb, diagonal_ab),
        )
        for b, bb, ab, diagonal_b, diagonal_bb, diagonal_ab in zip(*columns, strict=True)
    ]


def _pearson(over: Sums, every: Sums, constant: str) -> Value:
    """Correlate over some entries; ``every`` gives the scale of rounding, ``constant`` the note where none varies."""
    if over.count == 0:
        return undefined(NO_OFF_DIAGONAL)
    variance_a = over.aa - over.a**2 / over.count
    variance_b = over.bb - over.b**2 / over.count
    if variance_a <= NEGLIGIBLE * every.aa or variance_b <= NEGLIGIBLE * every.bb:
        return undefined(constant)
    return Value(bounded((over.ab - over.a * over.b / over.count) / sqrt(variance_a * variance_b)))


def bounded(correlation: float) -> float:
    """Clip a correlation that rounding has carried beyond -1 or 1."""
    return max(-1.0, min(1.0, correlation))
