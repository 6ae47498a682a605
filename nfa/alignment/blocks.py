"""K in blocks of samples, twice over: what error bars are made from.

A block holds the sum of K_i over its samples, in two independent sketches (or the exact sum, twice the same). Kept as
rows of J^T v where that is smaller than a k x k matrix.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

MOST = 64  # blocks; then neighbours are merged, so that memory does not grow with the number of samples


@dataclass(frozen=True)
class Part:
    """A sum of outer products: rows^T diag(signs) rows, or a matrix.

    Attributes:
        values: (g, m, k) rows, or (g, k, k) matrix; on the CPU, in the number type it was measured in.
        signs: (m,) for rows; None for a matrix.
    """

    values: Tensor
    signs: Tensor | None

    @classmethod
    def of_rows(cls, rows: Tensor) -> "Part":
        """rows^T rows."""
        return cls(rows, rows.new_ones(rows.shape[1]))

    def matrix(self) -> Tensor:
        """(g, k, k), in its own number type."""
        return self.values if self.signs is None else (self.values.mT * self.signs) @ self.values

    def squared(self, other: "Part", gram: Tensor) -> float:
        """tr(A S B S) for two parts of a kind, S = gram (g, k, k) in the same number type."""
        if self.signs is None or other.signs is None:
            return float(((self.matrix() @ gram) * (other.matrix() @ gram).mT).sum(dtype=torch.float64))
        cross = (self.values @ gram @ other.values.mT).square_().sum(0, dtype=torch.float64)
        return float(self.signs.double() @ cross @ other.signs.double())

    def diagonal(self, weight: Tensor) -> Tensor:
        """Diagonal of W^T (self) W: (g, d) float64, W (g, k, d) in the same number type."""
        if self.signs is None:
            return ((self.values @ weight) * weight).sum(1).double()
        return torch.einsum("gmd,m->gd", (self.values @ weight).square_(), self.signs).double()

    def __sub__(self, other: "Part") -> "Part":
        """Difference of two parts of a kind."""
        if self.signs is None or other.signs is None:
            return Part(self.matrix() - other.matrix(), None)
        return Part(torch.cat([self.values, other.values], 1), torch.cat([self.signs, -other.signs]))

    def __add__(self, other: "Part") -> "Part":
        """Sum of two parts of a kind."""
        if self.signs is None or other.signs is None:
            return Part(self.matrix() + other.matrix(), None)
        return Part(torch.cat([self.values, other.values], 1), torch.cat([self.signs, other.signs])).compact()

    def compact(self) -> "Part":
        """The same as a matrix, where that is smaller than the rows."""
        return Part(self.matrix(), None) if self.values.shape[1] > self.values.shape[2] else self


@dataclass
class Blocks:
    """Blocks of samples in forward order.

    Attributes:
        sizes: Samples of each block.
        first: Sum of K_i over each block, first sketch.
        second: The same from independent probes; the same object where the sum is exact.
    """

    sizes: list[int] = field(default_factory=list)
    first: list[Part] = field(default_factory=list)
    second: list[Part] = field(default_factory=list)

    def add(self, size: int, first: Part, second: Part) -> None:
        """Append a block; merge neighbours when there are too many."""
        self.sizes.append(size)
        self.first.append(first)
        self.second.append(second)
        if len(self.sizes) > MOST:
            exact = all(a is b for a, b in self)
            self.sizes = [sum(self.sizes[i : i + 2]) for i in range(0, len(self.sizes), 2)]
            self.first = _merged(self.first)
            self.second = self.first if exact else _merged(self.second)

    def __iter__(self) -> Iterator[tuple[Part, Part]]:
        """Give the two sketches of each block."""
        return iter(zip(self.first, self.second, strict=True))

    def __sub__(self, other: "Blocks") -> "Blocks":
        """Difference over the same samples and probes, block by block."""
        return Blocks(
            list(self.sizes),
            [a - b for a, b in zip(self.first, other.first, strict=True)],
            [a - b for a, b in zip(self.second, other.second, strict=True)],
        )

    def means(self) -> tuple[Tensor, Tensor]:
        """K by the first and by the second sketch: (g, k, k) float64."""
        n = sum(self.sizes)
        return _total(self.first) / n, _total(self.second) / n


def _merged(parts: list[Part]) -> list[Part]:
    return [parts[i] + parts[i + 1] if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]


def _total(parts: list[Part]) -> Tensor:
    """Sum of all parts; the rows among them are multiplied together at once, in their own number type."""
    matrices = [part.values.double() for part in parts if part.signs is None]
    rows = [part for part in parts if part.signs is not None]
    if rows:
        values = torch.cat([part.values for part in rows], 1)
        product = (values.mT * torch.cat([part.signs for part in rows if part.signs is not None])) @ values
        matrices.append((product + product.mT).double() / 2)
    return torch.stack(matrices).sum(0)


def inner_products(parts: Sequence[Part], other: Tensor) -> Tensor:
    """<part, other> of each, other (g, k, k) symmetric in the same number type: (number of parts,) float64."""
    if any(part.signs is None for part in parts):
        return torch.stack([(part.matrix() * other).sum(dtype=torch.float64) for part in parts])
    values = torch.cat([part.values for part in parts], 1)
    of_rows = (values @ other).mul_(values).sum((0, 2), dtype=torch.float64)
    signs = torch.cat([part.signs for part in parts if part.signs is not None])
    return torch.stack([piece.sum() for piece in (of_rows * signs).split([part.values.shape[1] for part in parts])])
