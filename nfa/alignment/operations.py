"""How each operation of PyTorch that multiplies by a matrix is read as h = W x.

An operation is seen below autograd, where modules, functions, attention and recurrent networks have all become a few
kinds of product. Its reading says which operand would be W, how W's rows and columns lie in it, and how the gradient of
the operation's result turns into rows of J.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


@dataclass(frozen=True)
class Reading:
    """An operand read as W.

    Attributes:
        weight: The operand.
        shape: (g, k, *fan-in).
        strides: Of the operand's memory, one for each entry of ``shape``.
        rows: Gradient of the operation's result -> (g, rows, k); the rows of one sample, position and call are one.
    """

    weight: Tensor
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    rows: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Product:
    """An operation that multiplies two tensors.

    Attributes:
        result: Its result, h up to a bias.
        readings: One for each operand that can be W, with the other operand.
    """

    result: Tensor
    readings: Sequence[tuple[Reading, Tensor]]


def _flat(gradient: Tensor) -> Tensor:
    return gradient.flatten(0, -2)[None]


def _flat_transposed(gradient: Tensor) -> Tensor:
    return gradient.mT.flatten(0, -2)[None]


def _matrix_product(left: Tensor, right: Tensor, result: Tensor) -> Product:
    """Read left (m, i) @ right (i, j)."""
    as_right = Reading(right, (1, *right.shape[::-1]), (0, *right.stride()[::-1]), _flat)
    as_left = Reading(left, (1, *left.shape), (0, *left.stride()), _flat_transposed)
    return Product(result, [(as_right, left), (as_left, right)])


def _batched_product(left: Tensor, right: Tensor, result: Tensor) -> Product:
    """Read left (b, m, i) @ right (b, i, j); a matrix repeated for every b is one matrix, not b blocks."""

    def reading(weight: Tensor, rows: Callable[[Tensor], Tensor]) -> Reading:
        blocks, k, d = weight.shape
        single = blocks == 1 or weight.stride(0) == 0
        shape, strides = (1 if single else blocks, k, d), (0 if single else weight.stride(0), *weight.stride()[1:])
        return Reading(weight, shape, strides, (lambda g: rows(g).flatten(0, 1)[None]) if single else rows)

    as_right = reading(right.mT, lambda gradient: gradient)
    as_left = reading(left, lambda gradient: gradient.mT)
    return Product(result, [(as_right, left), (as_left, right)])


def _vector_product(left: Tensor, right: Tensor, result: Tensor) -> Product:
    """Read left (m, i) or (i,) @ right (i,); as W, a vector is a matrix of one row."""

    def row(vector: Tensor) -> Reading:
        (size,), (stride,) = vector.shape, vector.stride()
        return Reading(vector, (1, 1, size), (0, size * stride, stride), lambda gradient: gradient.reshape(1, -1, 1))

    if left.dim() == 1:
        return Product(result, [(row(right), left), (row(left), right)])
    as_left = Reading(left, (1, *left.shape), (0, *left.stride()), lambda gradient: gradient[None, None])
    return Product(result, [(as_left, right), (row(right), left)])


def _linear(inputs: Tensor, weight: Tensor, _bias: Any, result: Tensor) -> Product:
    return Product(result, [(Reading(weight, (1, *weight.shape), (0, *weight.stride()), _flat), inputs)])


def _convolution(inputs: Tensor, weight: Tensor, *rest: Any) -> Product | None:
    """W is (k, c_in / g, *kernel), its rows in g groups that see different channels; none when transposed."""
    *_, transposed, _output_padding, groups, result = rest
    if transposed:
        return None
    k, strides = len(weight) // groups, weight.stride()

    def rows(gradient: Tensor) -> Tensor:
        positions = gradient.movedim(1, -1).flatten(0, -2)  # (n * positions, g * k)
        by_group: Tensor = positions.view(-1, groups, k).movedim(1, 0)
        return by_group

    block = 0 if groups == 1 else k * strides[0]
    reading = Reading(weight, (groups, k, *weight.shape[1:]), (block, *strides), rows)
    return Product(result, [(reading, inputs)])


READERS: dict[Any, Callable[..., Product | None]] = {
    aten.mm.default: _matrix_product,
    aten.addmm.default: lambda _bias, left, right, result: _matrix_product(left, right, result),
    aten.mv.default: _vector_product,
    aten.addmv.default: lambda _bias, left, right, result: _vector_product(left, right, result),
    aten.dot.default: _vector_product,
    aten.vdot.default: _vector_product,
    aten.bmm.default: _batched_product,
    aten.baddbmm.default: lambda _bias, left, right, result: _batched_product(left, right, result),
    aten.linear.default: lambda inputs, weight, *rest: _linear(inputs, weight, None, rest[-1]),
    aten.convolution.default: _convolution,
}

# What else a weight can go through, by the operation's name, and why it is then not measured.
INDEXED = "its weight is indexed, not multiplied"
ENTRYWISE = "added or multiplied entry by entry: no matrix product"
TRANSPOSED = "transposed convolution: one position is mapped to a patch, and patches overlap before any pre-activation"
NORMALISATION = "normalisation: its weight multiplies entry by entry"
COMPUTED = "weight normalisation: the matrix is computed from it"
REASONS: dict[str, str] = {
    "embedding": f"embedding: {INDEXED}",
    "_embedding_bag": f"embedding: {INDEXED}",
    "index": f"table: {INDEXED}",
    "index_select": f"table: {INDEXED}",
    "gather": f"table: {INDEXED}",
    "convolution": TRANSPOSED,
    "_trilinear": "bilinear: its weight multiplies two inputs",
    "native_layer_norm": NORMALISATION,
    "_weight_norm_interface": COMPUTED,
    **dict.fromkeys(("add", "add_", "sub", "mul", "mul_", "div", "where", "cat", "stack"), ENTRYWISE),
}
