"""The average gradient outer product of every layer from its definition, for comparison with W^T K W.

    G = (1/n) sum over samples, positions and outputs of g g^T,    g = d output / d x,    h = W x

``nfa.check`` compares this G with W^T K W, so nothing here may use K or the way in which K is computed. K reads J off
the gradient by h. Here every product h = W x is computed a second time from a copy of x that requires gradients, and
torch's own backward of that product turns the gradient by h into g. Samples come one at a time (each with a copy of
itself, whose gradients are zero) and outputs one at a time, so no sum over samples can hide a mistake. A convolution is
computed as a product of W with patches of the input. Each product is compared with the network's own: ``mismatch``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nfa.alignment.network.interception import Interception, Seen
from nfa.alignment.network.measuring_mode import measuring_mode
from nfa.alignment.network.naming import Names
from nfa.alignment.network.recording import Call
from nfa.alignment.network.single_sample import record_doubled

# Positions of the two operands among the arguments of an operation; the first two for all others.
_OPERANDS = {"aten::addmm": (1, 2), "aten::addmv": (1, 2), "aten::baddbmm": (1, 2), "aten::addbmm": (1, 2)}


def _places(func: Any) -> tuple[int, int]:
    return _OPERANDS.get(func._schema.name, (0, 1))


@dataclass(frozen=True)
class DirectLayer:
    """The direct AGOP of one layer.

    Attributes:
        agop: G, (g, d, d) float64 on the CPU; or G u, (g, d, r), if directions u were given.
        mismatch: Largest relative difference between the network's products and the repeated ones.
    """

    agop: Tensor
    mismatch: float


@dataclass(frozen=True)
class _Again:
    """A product that is computed a second time.

    Attributes:
        x: The other factor, a leaf of autograd's graph.
        result: The product.
        row_axis: Axis of the result that runs over rows of W (of all blocks, for a grouped convolution).
        vectors: Gradient by x -> (g, m, d), one vector for each position.
        mismatch: Relative difference from the network's product.
    """

    x: Tensor
    result: Tensor
    row_axis: int
    vectors: Callable[[Tensor], Tensor]
    mismatch: float


class _Keeping(Interception):
    """Also keeps the factors of each product: index of a product -> function that computes it again."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.products: dict[int, Callable[[], _Again]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = len(self.seen)
        result = super().__torch_dispatch__(func, types, args, kwargs)
        for index in range(before, len(self.seen)):
            seen = self.seen[index]
            view = seen.view
            if view is None or seen.reading is None:
                continue
            left, right = _places(func)
            place = left if self._is_weight(args[right], seen) else right
            # The network may change x and the result in place later on, but not its weights.
            given = [value.detach() if isinstance(value, Tensor) else value for value in args]
            given[place] = given[place].clone()
            expected = result.detach().clone()
            if func._schema.name == "aten::convolution":
                self.products[index] = partial(_patches, given, view.shape[0], expected)
            elif seen.reading.between is not None:
                matrix = (
                    args[right]
                    .detach()
                    .as_strided(
                        seen.reading.shape[1:],
                        seen.reading.strides[1:],
                        args[right].storage_offset() + seen.reading.start,
                    )
                )
                self.products[index] = partial(_group, given[left], matrix, seen.reading.between, expected)
            else:
                values = (func, given, dict(kwargs or {}), place, seen, expected)
                self.products[index] = partial(_multiplied, *values)
        return result

    def _is_weight(self, tensor: Tensor, seen: Seen) -> bool:
        """Tell whether an operand is the matrix of a product."""
        known = None if tensor in self._from_samples else self._range_of(tensor)
        assert seen.view is not None
        if known is None or known.parameter != seen.view.parameter:
            return False
        if seen.reading is not None and seen.reading.between is not None:
            return True
        return self._find(tensor) == (seen.view.parameter, seen.view.offset)


def _group(inputs: Tensor, matrix: Tensor, between: tuple[int, int], expected: Tensor) -> _Again:
    """Compute the product of one group of rows with their matrix again."""
    first, last = between
    x = inputs[first:last].clone().requires_grad_()
    own = x @ matrix.mT
    result = torch.zeros_like(expected)
    result[first:last] = own
    mismatch = _difference(own, expected[first:last])
    return _Again(x, result, -1, lambda gradient: gradient[None], mismatch)


def _multiplied(func: Any, args: list[Any], kwargs: dict[str, Any], place: int, seen: Seen, expected: Tensor) -> _Again:
    """Compute a matrix product again."""
    assert seen.view is not None
    x = args[place].requires_grad_()
    result = func(*args, **kwargs)
    # With the weight on the left, the columns of x are positions, unless x is a single vector.
    transposed = place == _places(func)[1] and x.dim() > 1
    blocks = seen.view.shape[0]

    def vectors(gradient: Tensor) -> Tensor:
        rows = gradient.mT if transposed else gradient
        if func._schema.name == "aten::addbmm":  # the blocks stand side by side
            return rows.movedim(0, 1).flatten(1)[None]
        if seen.regroup is not None:
            return seen.regroup(rows)
        return rows.reshape(blocks, -1, rows.shape[-1])

    return _Again(x, result, -2 if transposed else -1, vectors, _difference(result, expected))


def _patches(args: list[Any], groups: int, expected: Tensor) -> _Again:
    """Compute a convolution as W times patches, in any number of dimensions."""
    inputs, weight, bias, stride, padding, dilation, *_ = args
    kernel = weight.shape[2:]
    axes = len(kernel)
    windows = functional.pad(inputs, [side for pad in reversed(_each(padding, axes)) for side in (pad, pad)])
    for axis, (size, step, gap) in enumerate(zip(kernel, _each(stride, axes), _each(dilation, axes), strict=True)):
        windows = windows.unfold(2 + axis, gap * (size - 1) + 1, step)[..., ::gap]
    positions = windows.shape[2 : 2 + axes]
    blocks = windows.unflatten(1, (groups, -1)).movedim(2, 2 + axes)  # (n, g, *positions, c / g, *kernel)
    x = blocks.flatten(2 + axes).flatten(2, 1 + axes).detach().requires_grad_()  # (n, g, m, d)
    h = x @ weight.flatten(1).unflatten(0, (groups, -1)).mT
    result = h.movedim(-1, 2).flatten(1, 2).unflatten(2, positions)
    if bias is not None:
        result = result + bias.reshape(-1, *[1] * axes)
    return _Again(x, result, 1, lambda gradient: gradient.movedim(1, 0).flatten(1, 2), _difference(result, expected))


def _each(values: Sequence[int], axes: int) -> list[int]:
    return list(values) * axes if len(values) == 1 else list(values)


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float((found.detach() - expected).norm() / expected.norm().clamp(min=torch.finfo(expected.dtype).tiny))


def direct_agop(
    model: nn.Module,
    inputs: Tensor,
    directions: Mapping[str, Tensor | None],
    *,
    heads: bool = False,
    names: Names | None = None,
) -> dict[str, DirectLayer]:
    """Compute G of some layers.

    Args:
        model: The network, in float64 if the comparison is to be exact.
        inputs: (n, *input shape).
        directions: Layer name -> u (g, d, r) float64, for G u in place of G; None for G.
        heads: As in ``measure_covariances``.
        names: The names under which the layers were measured.

    Returns:
        Layer name -> G. A layer that is not used when a sample comes alone is missing.
    """
    totals: dict[str, Tensor] = {}
    mismatch: dict[str, float] = {}
    with measuring_mode(model):
        for sample in inputs.split(1):
            for call, again, vectors in _vectors(model, sample, set(directions), heads=heads, names=names):
                name = call.layer.name
                vectors = vectors.to("cpu", torch.float64)
                along = directions[name]
                found = vectors.mT @ (vectors if along is None else vectors @ along)
                totals[name] = found if name not in totals else totals[name].add_(found)
                mismatch[name] = max(mismatch.get(name, 0.0), again.mismatch)
    return {name: DirectLayer(total / len(inputs), mismatch[name]) for name, total in totals.items()}


def _vectors(
    model: nn.Module, sample: Tensor, layers: set[str], *, heads: bool, names: Names | None
) -> Iterator[tuple[Call, _Again, Tensor]]:
    """Yield the gradients by x, (g, m, d), for every output of one sample and every call of the layers."""
    watches: list[_Keeping] = []

    def watching(*arguments: Any, **keywords: Any) -> _Keeping:
        watches.append(_Keeping(*arguments, **keywords))
        return watches[-1]

    recording = record_doubled(model, sample, heads=heads, watching=watching, names=Names(names))
    calls = [call for call in recording.calls if call.layer.name in layers]
    # The last watch belongs to the recorded pass: a network that writes to its input is run again.
    again = {index: watches[-1].products[index]() for index in sorted({call.product for call in calls})}
    rows = {index: watches[-1].seen[index].view for index in again}
    edges: list[Any] = [recording.products[index] for index in again]
    for output in recording.outputs[0]:
        gradients = torch.autograd.grad(output, edges, retain_graph=True, allow_unused=True)
        by_product = dict(zip(again, gradients, strict=True))
        for call in calls:
            gradient, product, whole = by_product[call.product], again[call.product], rows[call.product]
            assert whole is not None
            if gradient is None:
                gradient = torch.zeros_like(product.result)
            elif call.layer.view != whole:
                gradient = _through(gradient, product.row_axis, whole, call.layer.view)
            (by_x,) = torch.autograd.grad(product.result, product.x, gradient, retain_graph=True)
            yield call, product, product.vectors(by_x)


def _through(gradient: Tensor, axis: int, whole: Any, part: Any) -> Tensor:
    """Set a product's gradient to zero for all rows of W but those of one layer, a part of W."""
    step = whole.strides[1]
    own = {part.offset + step * row for row in (range(part.shape[1]) if part.rows is None else part.rows)}
    mask = torch.tensor([whole.offset + step * row in own for row in range(whole.shape[1])], device=gradient.device)
    shape = [1] * gradient.dim()
    shape[axis] = -1
    return gradient * mask.reshape(shape)
