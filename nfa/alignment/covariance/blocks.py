"""K in blocks of samples and in two sketches, from which error bars are made.

There are two sources of error. With a sample of a larger data set, K varies with the samples drawn: it is kept as sums
over blocks of samples, and the spread of a quantity over blocks gives its standard error. With random probes v, K is
estimated by (J^T v)(J^T v)^T, and a product such as tr(K S K S) of an estimate with itself is biased: K is estimated by
two independent sketches, so that products of one with the other are unbiased. Where K_i is exact the two are the same
object.

A block's sum needs either a (k, k) matrix, or its rows J^T v, m of them, when m < k; ``OuterSum`` holds whichever is
smaller. Rows may have a sign of -1, so that the difference K - K0 of two measurements on the same samples and probes
has the same form. When more than ``MOST`` blocks come, neighbours are merged, so memory does not grow with the samples.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from nfa.alignment.covariance.products import add_products_, mirrored_

MOST = 64  # blocks; when there are more, neighbours are merged


@dataclass(frozen=True)
class _Uncut:
    """Rows of several blocks in one tensor, one row for each sample, in both sketches."""

    sizes: list[int]
    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class OuterSum:
    """A sum of outer products: rows^T diag(signs) rows, or a matrix.

    Attributes:
        values: (g, m, k) rows, or (g, k, k) matrix; on the CPU, in the number type it was measured in.
        signs: (m,) for rows; None for a matrix.
    """

    values: Tensor
    signs: Tensor | None

    @classmethod
    def of_rows(cls, rows: Tensor) -> "OuterSum":
        """Make the sum rows^T rows."""
        return cls(rows, rows.new_ones(rows.shape[1]))

    def matrix(self) -> Tensor:
        """Return the sum as a matrix (g, k, k) in its own number type."""
        return self.values if self.signs is None else (self.values.mT * self.signs) @ self.values

    def squared(self, other: "OuterSum", gram: Tensor) -> float:
        """Compute tr(A S B S) with another sum B of the same form, S = gram (g, k, k)."""
        if self.signs is None or other.signs is None:
            products = [part.matrix().to(gram) @ gram for part in (self, other)]
            return float((products[0] * products[1].mT).sum(dtype=torch.float64))
        cross = (self.values.to(gram) @ gram @ other.values.to(gram).mT).square_().sum(0, dtype=torch.float64)
        return float(self.signs.double() @ cross @ other.signs.double())

    def diagonal(self, weight: Tensor) -> Tensor:
        """Compute the diagonal of W^T A W: (g, d) float64, with W (g, k, d)."""
        product = self.values.to(weight) @ weight
        if self.signs is None:
            return (product * weight).sum(1).double()
        return torch.einsum("gmd,m->gd", product.square_(), self.signs.to(weight)).double()

    def __sub__(self, other: "OuterSum") -> "OuterSum":
        """Difference of two sums of the same form."""
        if self.signs is None or other.signs is None:
            return OuterSum(self.matrix() - other.matrix(), None)
        return OuterSum(torch.cat([self.values, other.values], 1), torch.cat([self.signs, -other.signs]))

    def __add__(self, other: "OuterSum") -> "OuterSum":
        """Sum of two sums of the same form."""
        if self.signs is None or other.signs is None:
            return OuterSum(self.matrix() + other.matrix(), None)
        return OuterSum(torch.cat([self.values, other.values], 1), torch.cat([self.signs, other.signs])).compact()

    def compact(self) -> "OuterSum":
        """Return the same sum as a matrix if that is smaller than its rows."""
        return OuterSum(self.matrix(), None) if self.values.shape[1] > self.values.shape[2] else self


class Blocks:
    """Sums of K_i over blocks of samples, in the order of the samples.

    Rows that come one for each sample are kept together, and cut into blocks when a block is first asked for.
    """

    def __init__(
        self, sizes: Iterable[int] = (), first: Iterable[OuterSum] = (), second: Iterable[OuterSum] = ()
    ) -> None:
        """Begin with some blocks: their numbers of samples, and the sums of K_i over each in two sketches."""
        self._sizes, self._first, self._second = list(sizes), list(first), list(second)
        self._uncut: list[_Uncut] = []
        self._span = 1  # number of added blocks that are merged into one
        self._filled = 1  # number of them that the last block has so far

    @property
    def sizes(self) -> list[int]:
        """Number of samples in each block."""
        return self._sizes + [size for rows in self._uncut for size in rows.sizes]

    @property
    def first(self) -> list[OuterSum]:
        """Sum of K_i over each block, from the first sketch."""
        self._cut()
        return self._first

    @property
    def second(self) -> list[OuterSum]:
        """Sum of K_i over each block, from the second sketch; the same objects as ``first`` where K is exact."""
        self._cut()
        return self._second

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the sums: the widest one, because zeros for samples that miss the layer may be narrower."""
        kept = [part.values.dtype for part in self._first] + [rows.first.dtype for rows in self._uncut]
        return reduce(torch.promote_types, kept)

    def add(self, size: int, first: OuterSum, second: OuterSum) -> None:
        """Append a block; merge neighbours when there are too many."""
        self._cut()
        self._append(size, first, second)

    def add_rows(self, sizes: Sequence[int], first: Tensor, second: Tensor) -> None:
        """Append blocks of the given sizes as rows (g, samples, k), one row for each sample in both sketches."""
        self._uncut.append(_Uncut(list(sizes), first, second))
        if len(self.sizes) > MOST:
            self._cut()

    def _cut(self) -> None:
        waiting, self._uncut = self._uncut, []
        for rows in waiting:
            pieces = (part.split(rows.sizes, 1) for part in (rows.first, rows.second))
            for size, *both in zip(rows.sizes, *pieces, strict=True):
                self._append(size, *(OuterSum.of_rows(part).compact() for part in both))

    def _append(self, size: int, first: OuterSum, second: OuterSum) -> None:
        exact = first is second
        if self._sizes and self._filled < self._span:  # the last block has fewer samples than its neighbours
            exact = exact and self._first[-1] is self._second[-1]
            self._sizes[-1] += size
            self._first[-1] = self._first[-1] + first
            self._second[-1] = self._first[-1] if exact else self._second[-1] + second
            self._filled += 1
            return
        self._sizes.append(size)
        self._first.append(first)
        self._second.append(second)
        self._filled = 1
        if len(self._sizes) > MOST:  # their number is odd: the last block, half as large as the others, is filled next
            exact = all(a is b for a, b in zip(self._first, self._second, strict=True))
            self._sizes = [sum(self._sizes[i : i + 2]) for i in range(0, len(self._sizes), 2)]
            self._first = _merged(self._first)
            self._second = self._first[:] if exact else _merged(self._second)
            self._span *= 2

    def __iter__(self) -> Iterator[tuple[OuterSum, OuterSum]]:
        """Iterate over blocks, each as its two sketches."""
        return iter(zip(self.first, self.second, strict=True))

    def __sub__(self, other: "Blocks") -> "Blocks":
        """Difference of two measurements on the same samples and probes, block by block."""
        first = [a - b for a, b in zip(self.first, other.first, strict=True)]
        exact = all(a is b for blocks in (self, other) for a, b in blocks)
        second = first if exact else [a - b for a, b in zip(self.second, other.second, strict=True)]
        return Blocks(self.sizes, first, second)

    def totals(self) -> tuple[Tensor, Tensor]:
        """Sum of K_i over all samples, by the first and by the second sketch: (g, k, k), in its number type."""
        rows = ([part.first for part in self._uncut], [part.second for part in self._uncut])
        dtype = self.dtype
        first = _total(self._first, rows[0], dtype)
        exact = not self._uncut and all(a is b for a, b in self)
        return first, first if exact else _total(self._second, rows[1], dtype)

    def means(self) -> tuple[Tensor, Tensor]:
        """K by the first and by the second sketch: (g, k, k) float64."""
        n = sum(self.sizes)
        first, second = self.totals()
        return first.double() / n, second.double() / n


def _merged(parts: list[OuterSum]) -> list[OuterSum]:
    return [parts[i] + parts[i + 1] if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]


def _total(parts: Sequence[OuterSum], uncut: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Add all sums, and the products of uncut rows, of which only one triangle is computed."""
    matrices = [part.values for part in parts if part.signs is None]
    rows = [part for part in parts if part.signs is not None]
    signed = [(1, values) for values in uncut]
    if rows:
        values = torch.cat([part.values for part in rows], 1)
        signs = torch.cat([part.signs for part in rows if part.signs is not None])
        signed += [(sign, values[:, signs == sign]) for sign in (1, -1) if (signs == sign).any()]
    total = None
    for sign, values in signed:
        if total is None:
            total = torch.zeros(len(values), values.shape[2], values.shape[2], dtype=dtype)
        add_products_(total, values.to(dtype), sign)
    if total is not None:
        matrices.append(mirrored_(total))
    if len(matrices) == 1:
        return matrices[0]
    return torch.stack(matrices).sum(0, dtype=torch.float64)


def inner_products(parts: Sequence[OuterSum], other: Tensor) -> Tensor:
    """Compute the inner product of each sum with a symmetric matrix (g, k, k): (number of sums,) float64."""
    if any(part.signs is None for part in parts):
        return torch.stack([(part.matrix().to(other) * other).sum(dtype=torch.float64) for part in parts])
    values = torch.cat([part.values for part in parts], 1).to(other)
    of_rows = (values @ other).mul_(values).sum((0, 2), dtype=torch.float64)
    signs = torch.cat([part.signs for part in parts if part.signs is not None])
    return torch.stack([piece.sum() for piece in (of_rows * signs).split([part.values.shape[1] for part in parts])])
