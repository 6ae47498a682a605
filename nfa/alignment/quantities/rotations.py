"""Random rotations of K, drawn from Haar measure, once for all matrices that are compared with it.

The controls by random rotation correlate W^T W with W^T Q K Q^T W, and the change of the weights likewise. As Q V is
distributed as Q for any fixed orthogonal V, K may be replaced by the diagonal matrix of its eigenvalues, and A = Q
diag(lambda) Q^T may be understood in any orthonormal basis.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nfa.random import torch_generator

DRAWS = 20  # rotations at power 1
LARGEST_DRAWN = 1024  # for a larger k a draw takes seconds
# Beyond it, W's strongest directions are drawn. What the many weak ones add varies over Q by about 1/k; the few strong
# ones of a change of low rank make ratios whose mean is far from the ratio of means (.98 and .69 for ranks 2 and 3).
STRONGEST = 128
LARGEST_ROTATED_IN_DOUBLE = 256
AT_ONCE = 2**18  # entries of the matrices that are turned in one product: small matrices together, large ones alone
KEPT_BYTES = 2**28  # three sets of the largest rotations that are drawn


class TurnedCovariance:
    """A = Q diag(lambda) Q^T for random rotations Q: K with other directions, drawn once for all matrices of a layer.

    A has the same distribution in every orthonormal basis, so that it serves as U^T Q K Q^T U for the left singular
    vectors U of the weights, and for those of their change. Of A, as many rows and columns are computed as are needed.

    Attributes:
        eigenvalues: lambda, ascending in each block, divided by the largest of all, (g, k). Correlations do not depend
            on scale, and float32 could not hold the squares of a small K.
        whole: True if Q is drawn, False if k is so large that only ``STRONGEST`` of its rows are.
        directions: The rows of Q that are needed, (draws, g, r, k).
    """

    def __init__(self, eigenvalues: Tensor, rows: int, seed: int) -> None:
        """Draw the rotations.

        Args:
            eigenvalues: Of K, ascending in each block, (g, k).
            rows: Number of rows and columns of A that are needed: the smaller side of the weights.
            seed: Seed of the rotations.
        """
        g, k = eigenvalues.shape
        self.eigenvalues = eigenvalues / eigenvalues.max().clamp(min=torch.finfo(torch.float64).tiny)
        self.whole = k <= LARGEST_DRAWN
        self.rotations = rotations(k, g, seed, None if self.whole else min(rows, STRONGEST))
        self.directions = self.rotations[..., :rows, :]
        self._inner: dict[torch.dtype, Tensor] = {}
        self._squares: dict[torch.dtype, Tensor] = {}

    def inner(self, dtype: torch.dtype) -> Tensor:
        """Compute the first r rows and columns of each A, (draws, g, r, r), or give them again."""
        if dtype not in self._inner:
            spectrum = self.eigenvalues.to(dtype)[:, None]
            parts = (some.to(dtype) for some in self.directions.split(at_once(self.directions)))
            self._inner[dtype] = torch.cat([(some * spectrum) @ some.mT for some in parts])
        return self._inner[dtype]

    @cached_property
    def totals(self) -> Tensor:
        """Sum of the entries of each A, where Q is drawn, (draws,)."""
        return (self.rotations.sum(2).square() * self.eigenvalues.to(self.rotations)).sum((1, 2), dtype=torch.float64)

    @cached_property
    def diagonals(self) -> Tensor:
        """Diagonal of each A, where Q is drawn, (draws, g, k)."""
        parts = self.rotations.split(at_once(self.rotations))
        spectrum = self.eigenvalues.to(self.rotations)[..., None]
        return torch.cat([(some.square() @ spectrum)[..., 0].double() for some in parts])

    def squares(self, dtype: torch.dtype) -> Tensor:
        """Compute A_ij^2 for each A, (draws, g, r, r), or give them again."""
        if dtype not in self._squares:
            self._squares[dtype] = self.inner(dtype).square()
        return self._squares[dtype]

    @cached_property
    def beyond(self) -> "Beyond":
        """The other rows and columns of A, where not the whole of it is drawn.

        Given the r rows of Q that are drawn, t_i, the others are uniform in the complement, of dimension p = k - r, on
        which diag(lambda) acts as B. For i <= r < j, l, and E B_jl B_mn = a d_jl d_mn + b (d_jm d_ln + d_jn d_lm)
        [derived]:

            E A_jj = tr B / p    E A_ij^2 = (|diag(lambda) t_i|^2 - |A_i|^2) / p    E A_jl^2 = a d_jl + b (1 + d_jl)
        """
        values, inner = self.eigenvalues, self.inner(torch.float64)
        p = values.shape[1] - inner.shape[-1]
        lengths = (self.directions * values[:, None]).square().sum(3)
        outside = (lengths - inner.square().sum(3)).clamp(min=0)
        trace = values.sum(1) - inner.diagonal(dim1=2, dim2=3).sum(2)
        a, b = second_moments(trace, values.square().sum(1) - (lengths + outside).sum(2), p)
        return Beyond(trace / p, outside / p, a + b, b)


def second_moments(trace: Tensor, squares: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return a and b of E B_jl B_mn = a d_jl d_mn + b (d_jm d_ln + d_jn d_lm) over rotations of B [derived].

    Args:
        trace: tr B.
        squares: |B|^2.
        size: Dimension of the space in which B is turned, at least 2.
    """
    common = size * (size - 1) * (size + 2)
    return ((size + 1) * trace**2 - 2 * squares) / common, (size * squares - trace**2) / common


@dataclass(frozen=True)
class Beyond:
    """Expectations of the entries of A in rows and columns that are not drawn.

    Attributes:
        diagonal: E A_jj, (draws, g).
        across: E A_ij^2 with a row i that is drawn, (draws, g, r).
        excess: E A_jj^2 - E A_jl^2, (draws, g).
        squares: E A_jl^2 for j != l, (draws, g).
    """

    diagonal: Tensor
    across: Tensor
    excess: Tensor
    squares: Tensor


def at_once(matrices: Tensor, columns: int = 0) -> int:
    """Return the number of matrices (draws, g, r, k) that are worked on together: many small ones, one large one."""
    return max(1, AT_ONCE // (matrices[0, ..., 0].numel() * max(matrices.shape[-1], columns)))


_kept: OrderedDict[tuple[int, int, int, int | None], Tensor] = OrderedDict()  # rotations, those used last at the end


def rotations(size: int, blocks: int, seed: int, rows: int | None = None) -> Tensor:
    """Draw the rotations of a control, (draws, blocks, size, size): the same for all layers of a size, at every step.

    They are kept for the next layer and the next step, as many as fit into ``KEPT_BYTES``: for k = 1,024 drawing them
    costs as much as everything else together. With ``rows``, that many orthonormal rows of each are drawn, in float64.
    The rotations of one dimension are 1 and -1, which turn no K: they are 1.
    """
    key = size, blocks, seed, rows
    if key not in _kept:
        one = torch.ones(DRAWS, blocks, 1, 1, dtype=torch.float64)
        _kept[key] = _drawn(size, blocks, seed, rows) if size > 1 else one
        while sum(each.nbytes for each in _kept.values()) > KEPT_BYTES and len(_kept) > 1:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def _drawn(size: int, blocks: int, seed: int, rows: int | None) -> Tensor:
    """Draw rotations of two dimensions or more, or rows of these."""
    generator = torch_generator("haar", seed, size=size, blocks=blocks)
    # A control needs no more digits than float32 has.
    dtype = torch.float64 if rows or size <= LARGEST_ROTATED_IN_DOUBLE else torch.float32
    gaussian = torch.empty(DRAWS, blocks, size, rows or size, dtype=dtype)
    for matrix in gaussian.flatten(0, 1):
        matrix.normal_(generator=generator)
    orthogonal = _orthogonal(gaussian)
    return orthogonal.mT.contiguous() if rows else orthogonal


def haar(size: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw an orthogonal matrix from Haar measure."""
    return _orthogonal(torch.randn(size, size, dtype=dtype, generator=generator))


def _orthogonal(gaussian: Tensor) -> Tensor:
    """Make matrices (..., k, r) of independent normal entries orthonormal, so that they are drawn from Haar measure.

    By the QR decomposition with signs fixed (Mezzadri, arXiv math-ph/0609050).
    """
    orthogonal, triangular = torch.linalg.qr(gaussian)
    rotation: Tensor = orthogonal * triangular.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return rotation
