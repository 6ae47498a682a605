"""How each operation of PyTorch that multiplies by a matrix is read as h = W x, and why other weights are left out.

Below autograd, modules, functions, attention and recurrent networks have all become a few kinds of product. A
``Reading`` of such an operation says which operand is W, how W's rows and columns lie in that operand, and how the
gradient of the operation's result becomes rows of J. Most products can be read in two ways, with either operand as W;
``interception`` takes the reading whose W lies in a parameter. To support a further operation, write a function from
its arguments and its result to a ``Product`` and enter it in ``READERS`` under the operation's name.

The texts at the end are the reasons for which a weight is not measured; they stand in the frame's ``left_out``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """An operand read as W.

    Attributes:
        weight: The operand.
        shape: (g, k, *fan-in) of W.
        strides: Strides in the operand's memory, one for each axis of ``shape``.
        rows: Gradient of the operation's result -> (g, rows, k), a row for each sample and position.
        start: Elements from the operand's first to W's first.
        between: The range of rows of the result that W gives, first and past the last; None where it gives all.
    """

    weight: Tensor
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    rows: Callable[[Tensor], Tensor]
    start: int = 0
    between: tuple[int, int] | None = None


@dataclass(frozen=True)
class Product:
    """An operation that multiplies two tensors.

    Attributes:
        result: The operation's result: h, up to a bias.
        readings: A reading for each operand that can be W, with the other operand.
        grouped: Whether the readings are several matrices of one operand, each for other rows of the other operand.
    """

    result: Tensor
    readings: Sequence[tuple[Reading, Tensor]]
    grouped: bool = False


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
    """Read left (b, m, i) @ right (b, i, j); a matrix that is the same for every b is one matrix, not b blocks."""

    def reading(weight: Tensor, rows: Callable[[Tensor], Tensor]) -> Reading:
        blocks, k, d = weight.shape
        single = blocks == 1 or weight.stride(0) == 0
        shape, strides = (1 if single else blocks, k, d), (0 if single else weight.stride(0), *weight.stride()[1:])
        return Reading(weight, shape, strides, (lambda g: rows(g).flatten(0, 1)[None]) if single else rows)

    as_right = reading(right.mT, lambda gradient: gradient)
    as_left = reading(left, lambda gradient: gradient.mT)
    return Product(result, [(as_right, left), (as_left, right)])


def _vector_product(left: Tensor, right: Tensor, result: Tensor) -> Product:
    """Read left (m, i) or (i,) @ right (i,); a vector that is W is a matrix of one row."""

    def row(vector: Tensor) -> Reading:
        (size,), (stride,) = vector.shape, vector.stride()
        return Reading(vector, (1, 1, size), (0, size * stride, stride), lambda gradient: gradient.reshape(1, -1, 1))

    if left.dim() == 1:
        return Product(result, [(row(right), left), (row(left), right)])
    as_left = Reading(left, (1, *left.shape), (0, *left.stride()), lambda gradient: gradient[None, None])
    return Product(result, [(as_left, right), (row(right), left)])


def _summed_product(left: Tensor, right: Tensor, result: Tensor) -> Product | None:
    """Read the sum over b of left (b, m, i) @ right (b, i, j): the blocks stand side by side in one matrix."""
    if left.stride(0) == 0 or right.stride(0) == 0:
        return None  # one matrix multiplies the sum of several inputs

    def reading(weight: Tensor, rows: Callable[[Tensor], Tensor]) -> Reading:
        b, k, d = weight.shape
        of_b, of_k, of_d = weight.stride()
        return Reading(weight, (1, k, b, d), (0, of_k, of_b, of_d), rows)

    return Product(result, [(reading(right.mT, _flat), left), (reading(left, _flat_transposed), right)])


def _grouped_product(left: Tensor, right: Tensor, *rest: Any) -> Product | None:
    """Read left (m, i), whose rows are cut into e groups, times right (e, i, j): one matrix per group that has rows."""
    ends, result = (rest[0] if len(rest) > 1 else None), rest[-1]
    if ends is None or left.dim() != 2 or right.dim() != 3:
        return None
    k, d = right.shape[2], right.shape[1]
    readings, start = [], 0
    for group, end in enumerate(ends.tolist()):
        if end > start:

            def rows(gradient: Tensor, between: slice = slice(start, end)) -> Tensor:
                return gradient[between][None]

            strides = (0, right.stride(2), right.stride(1))
            place = group * right.stride(0)
            readings.append((Reading(right, (1, k, d), strides, rows, place, (start, end)), left))
        start = end
    return Product(result, readings, grouped=True)


def _added(read: Callable[..., Product | None]) -> Callable[..., Product | None]:
    """Make a reader of beta * bias + alpha * product: the product's gradient is alpha times the result's."""

    def reader(_bias: Tensor, *operands: Any, alpha: float = 1, **_: Any) -> Product | None:
        product = read(*operands)
        if product is None or alpha == 1:
            return product
        readings = [(replace(one, rows=_scaled(one.rows, alpha)), other) for one, other in product.readings]
        return replace(product, readings=readings)

    return reader


def _scaled(rows: Callable[[Tensor], Tensor], factor: float) -> Callable[[Tensor], Tensor]:
    return lambda gradient: factor * rows(gradient)


def _linear(inputs: Tensor, weight: Tensor, _bias: Any, result: Tensor) -> Product:
    return Product(result, [(Reading(weight, (1, *weight.shape), (0, *weight.stride()), _flat), inputs)])


def _convolution(inputs: Tensor, weight: Tensor, *rest: Any) -> Product | None:
    """Read a convolution with weight (k, c_in / g, *kernel), its rows in g groups that see different channels."""
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


# Operation -> reader. It gets the operation's arguments and, as the last positional one, the operation's result.
READERS: dict[str, Callable[..., Product | None]] = {
    "aten::mm": _matrix_product,
    "aten::addmm": _added(_matrix_product),
    "aten::mv": _vector_product,
    "aten::addmv": _added(_vector_product),
    "aten::dot": _vector_product,
    "aten::vdot": _vector_product,
    "aten::bmm": _batched_product,
    "aten::baddbmm": _added(_batched_product),
    "aten::addbmm": _added(_summed_product),
    "aten::linear": lambda inputs, weight, *rest: _linear(inputs, weight, None, rest[-1]),
    "aten::convolution": _convolution,
    "aten::_grouped_mm": _grouped_product,
    "transformers::grouped_mm_fallback": _grouped_product,  # used where torch has no grouped product
}


def read(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Product | None:
    """Read an operation as a product; None if it is not in ``READERS``."""
    schema = func._schema
    if schema.name not in READERS or schema.overload_name not in ("", "default"):
        return None
    if schema.name in _GROUPED:
        args, kwargs = (args[0], args[1], kwargs.get("offs", args[2] if len(args) > 2 else None)), {}
    return READERS[schema.name](*args, result, **kwargs)


_GROUPED = ("aten::_grouped_mm", "transformers::grouped_mm_fallback")

# Why a weight, or a matrix that multiplies the samples, is not measured.
SPARSE = "a sparse tensor: only dense matrices are measured"
COMPLEX = "complex: only real matrices are measured"
ROUNDED = "turned into integers before it is multiplied: the matrix is computed from it"
REORDERED = "copied into another memory layout before the product"
JOINT = "it multiplies another weight: the samples meet only the product of the two"
BIAS = "added as a bias"
STORED = "the network stores what its first pass computes from it, and later passes multiply by what is stored"
UNTRAINED = "not a parameter: it multiplies the samples and is not trained, so it is not measured"

# Why a weight is not measured where it goes into an operation other than a product, by the operation.
INDEXED = "embedding: its weight is indexed, not multiplied"
GATHERED = "picked out by a tensor of indices, which makes a copy: w[e] with a whole number e would be measured"
JOINED = "joined with other tensors before the product"
ENTRYWISE = "added or multiplied entry by entry: no matrix product"
TRANSPOSED = "transposed convolution: one position is mapped to a patch, and patches overlap before any pre-activation"
NORMALISATION = "normalisation: its weight multiplies entry by entry"
COMPUTED = "weight normalisation: the matrix is computed from it"
NO_PRODUCT = "used by {operation}: not a matrix product that is measured"
WITH_BIAS = ("addmm", "addmv", "baddbmm", "addbmm")  # their first operand is added to the product of the other two
REASON_OF: dict[str, str] = {
    **dict.fromkeys(("embedding", "_embedding_bag"), INDEXED),
    "convolution": TRANSPOSED,
    "_trilinear": "bilinear: its weight multiplies two inputs",
    "native_layer_norm": NORMALISATION,
    "_weight_norm_interface": COMPUTED,
    **dict.fromkeys(("index", "index_select", "gather"), GATHERED),
    **dict.fromkeys(("cat", "stack"), JOINED),
    **dict.fromkeys(("add", "add_", "sub", "mul", "mul_", "div", "where"), ENTRYWISE),
}
