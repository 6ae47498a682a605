"""K of every matrix of a network by torch's own autograd, sample by sample and output by output, in float64.

This is an independent implementation; nothing of ``nfa`` is used. Functions of torch are watched above autograd
(``nfa`` watches operations below it): the result of every function that multiplies by a parameter is kept, and each
output of each sample is differentiated by it. To find the products with samples, the network is run again on other
samples, one more of them: the other factor of such a product is then different. (So is a constant with a row for each
sample, such as an initial state, which therefore counts as samples.)
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Place: TypeAlias = tuple[str, int, tuple[int, ...], tuple[int, ...]]  # parameter, offset, shape (g, k, d), strides

_COPIES = ("to", "float", "double", "type", "type_as", "clone", "contiguous")
_MATMUL = ("matmul", "mm", "bmm", "mv")
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


@dataclass(frozen=True)
class Matrix:
    """The oracle's answer for one matrix.

    Attributes:
        weight: W, (g, k, d).
        covariance: K over the products whose other operand comes from the samples, (g, k, k).
        of_samples: Whether there is such a product.
        of_constants: Whether there is a product with something that does not come from the samples.
    """

    weight: Tensor
    covariance: Tensor
    of_samples: bool
    of_constants: bool


@dataclass(frozen=True)
class Answer:
    """The oracle's answer for a network.

    Attributes:
        matrices: Place of a matrix -> its answer.
        uses: Parameter -> names of the functions that it went into.
    """

    matrices: Mapping[Place, Matrix]
    uses: Mapping[str, set[str]]

    def covariance(self, weight: Tensor) -> Tensor:
        """Find K of a measured layer by the rows of its matrix.

        Args:
            weight: (k, d) or (g, k, d), rows of one matrix of the network, in any order.

        Returns:
            K of these rows, (k, k) or (g, k, k).
        """
        blocks = weight if weight.dim() == 3 else weight[None]
        found = torch.stack([self._of_rows(rows) for rows in blocks])
        return found if weight.dim() == 3 else found[0]

    def place(self, rows: Tensor) -> tuple[Place, int, list[int]]:
        """Find a matrix and a block in it that hold some rows (k, d)."""
        found = [self._rows.get(_entries(row), []) for row in rows]
        places = set.intersection(*({entry[:2] for entry in entries} for entries in found)) if found else set()
        assert places, "no product of the samples with these rows was seen"
        place, block = min(places)
        return place, block, [next(entry[2] for entry in entries if entry[:2] == (place, block)) for entries in found]

    @cached_property
    def _rows(self) -> dict[bytes, list[tuple[Place, int, int]]]:
        """Map rows of matrices that multiply samples to their places: matrix, block, index."""
        known: dict[bytes, list[tuple[Place, int, int]]] = {}
        for place, matrix in self.matrices.items():
            if matrix.of_samples:
                for block, rows in enumerate(matrix.weight):
                    for index, row in enumerate(rows):
                        known.setdefault(_entries(row), []).append((place, block, index))
        return known

    def _of_rows(self, rows: Tensor) -> Tensor:
        place, block, indices = self.place(rows)
        return self.matrices[place].covariance[block][indices][:, indices]


def _entries(row: Tensor) -> bytes:
    """Sorted entries of a row: products may sum over columns in any order, and K is the same."""
    return row.sort().values.numpy().tobytes()


@dataclass
class _Call:
    place: Place
    h: Tensor
    other: Tensor
    rows: Callable[[Tensor], Tensor]  # gradient of h -> (g, rows, k)


@dataclass
class _Watch:
    calls: list[_Call] = field(default_factory=list)
    uses: dict[str, set[str]] = field(default_factory=dict)


class _Products(TorchFunctionMode):
    """Keeps every product with a parameter."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.parameters = parameters
        self.watch = _Watch()
        self._memory = {p.untyped_storage().data_ptr(): (name, p) for name, p in parameters.items()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(getattr(func, "__name__", func)).strip("_")
        for tensor in _tensors((*args, *(kwargs or {}).values())):
            owner = self._owner(tensor)
            if owner is None:
                continue
            if name in _COPIES and isinstance(result, Tensor) and result.stride() == tensor.stride():
                self._memory[result.untyped_storage().data_ptr()] = (
                    owner[0],
                    result,
                )  # keeps the copy alive, so that its address stays its own
            elif not _shares(result, tensor):
                self.watch.uses.setdefault(owner[0], set()).add(name)
        return self._note(name, args, kwargs or {}, result)

    def _owner(self, tensor: Tensor) -> tuple[str, Tensor] | None:
        return self._memory.get(tensor.untyped_storage().data_ptr()) if tensor.layout == torch.strided else None

    def _note(self, name: str, args: Any, kwargs: Any, h: Any) -> Any:
        """Note a product; return its result, or a copy of it that the network may change in place."""
        if name == "linear":
            x, weight = args[0], args[1] if len(args) > 1 else kwargs["weight"]
            return self._keep(weight, x, h, lambda g: g.reshape(1, -1, g.shape[-1]))
        if name in _CONVOLUTIONS:
            return self._convolution(args, kwargs, h)
        if name == "grouped_mm":
            return self._grouped(args, kwargs, h)
        if name == "einsum":
            return self._einsum(args[0], args[1:] if isinstance(args[1], Tensor) else args[1], h)
        if name in ("addmm", "addmv", "baddbmm"):
            args, name = args[1:], "matmul"
        if name in _MATMUL:
            left, right = [*args, *(value for value in kwargs.values() if isinstance(value, Tensor))][:2]
            if self._owner(right) is not None:
                weight = right[None] if right.dim() == 1 else right.mT
                return self._keep(weight, left, h, _rows(weight, transposed=False, vector=right.dim() == 1))
            if self._owner(left) is not None:
                weight = left[None] if left.dim() == 1 else left
                return self._keep(weight, right, h, _rows(weight, transposed=right.dim() > 1, vector=left.dim() == 1))
        return h

    def _convolution(self, args: Any, kwargs: Any, h: Tensor) -> Tensor:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        weight, groups = given["weight"], given.get("groups", 1)
        flat = weight.reshape(len(weight), -1)
        blocks = flat.unflatten(0, (groups, -1)) if self._owner(flat) is not None else weight

        def rows(g: Tensor) -> Tensor:
            by_group: Tensor = g.movedim(1, -1).flatten(0, -2).unflatten(-1, (groups, -1)).movedim(1, 0)
            return by_group

        return self._keep(blocks, given["input"], h, rows)

    def _einsum(self, equation: str, operands: Any, h: Tensor) -> Tensor:
        """Note an einsum: letters of W and the result alone are rows, those of both operands and the result blocks."""
        inputs, _, result = equation.replace(" ", "").partition("->")
        letters = inputs.split(",")
        places = [place for place, operand in enumerate(operands) if self._owner(operand) is not None]
        if len(operands) != 2 or len(places) != 1:
            return h
        (place,) = places
        weight, own, others = operands[place], letters[place], letters[1 - place]
        blocks = [letter for letter in result if letter in own and letter in others]
        k = [letter for letter in result if letter in own and letter not in others]
        d = [letter for letter in own if letter not in result]
        ordered = weight.permute([own.index(letter) for letter in (*blocks, *k, *d)])
        sizes = [torch.Size([weight.shape[own.index(letter)] for letter in group]).numel() for group in (blocks, k, d)]
        rest = [letter for letter in result if letter not in own]

        def rows(g: Tensor) -> Tensor:
            return g.permute([result.index(letter) for letter in (*blocks, *rest, *k)]).reshape(sizes[0], -1, sizes[1])

        return self._keep(ordered.reshape(sizes), operands[1 - place], h, rows)

    def _grouped(self, args: Any, kwargs: Any, h: Tensor) -> Tensor:
        """Note the products of successive ranges of rows with a matrix (d, k) each."""
        x, weights = args[0], args[1]
        offsets = kwargs["offs"] if "offs" in kwargs else args[2]
        if self._owner(weights) is None:
            return h
        start = 0
        for matrix, stop in zip(weights, offsets.tolist(), strict=True):
            part = slice(start, stop)
            if stop > start:
                rows = _range(part)
                h = self._keep(matrix.mT, x[part], h, rows, copy=False)
            start = stop
        return h.clone()

    def _keep(
        self, weight: Tensor, other: Tensor, h: Tensor, rows: Callable[[Tensor], Tensor], *, copy: bool = True
    ) -> Tensor:
        owner = self._owner(weight)
        if owner is None or not h.requires_grad:
            return h
        name, memory = owner
        blocks = weight if weight.dim() > 2 else weight[None]
        blocks = blocks.reshape(-1, *blocks.shape[-2:]) if _fixed(blocks) else blocks
        offset = (weight.data_ptr() - memory.data_ptr()) // weight.element_size()
        place = (name, offset, tuple(blocks.shape), tuple(blocks.stride()))
        self.watch.calls.append(_Call(place, h, other.detach().clone(), rows))
        return h.clone() if copy else h


def _shares(result: Any, tensor: Tensor) -> bool:
    """Tell whether a function returned views of a tensor, or no tensor at all (a size)."""
    results = list(_tensors((result,)))
    return all(found.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr() for found in results)


def _fixed(blocks: Tensor) -> bool:
    return all(stride for size, stride in zip(blocks.shape, blocks.stride(), strict=True) if size > 1)


def _range(part: slice) -> Callable[[Tensor], Tensor]:
    return lambda g: g[part][None]


def _rows(weight: Tensor, *, transposed: bool, vector: bool) -> Callable[[Tensor], Tensor]:
    """Make a function from the gradient of a matrix product to rows (g, m, k); the weight (*, k, d) is g matrices."""

    def rows(g: Tensor) -> Tensor:
        if vector:
            return g.reshape(1, -1, 1)
        g = g.mT if transposed else g
        leading = weight.dim() - 2
        if leading == 0:
            return g.reshape(1, -1, g.shape[-1])
        inner = g.shape[g.dim() - 2 - leading : -2]
        g = g.reshape(-1, *inner, *g.shape[-2:]).movedim(0, leading)  # (*blocks, rest, m, k)
        return g.reshape(inner.numel(), -1, g.shape[-1])

    return rows


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def ask(model: nn.Module, inputs: Tensor, others: Tensor) -> Answer:
    """Compute K of every matrix.

    Args:
        model: Network in eval mode and in float64 that gives (n, C).
        inputs: (n, ...).
        others: Other samples, in another number.
    """
    parameters = dict(model.named_parameters())
    watch, outputs = _run(model, parameters, inputs)
    again, _ = _run(model, parameters, others)
    alike = [call.place for call in watch.calls] == [call.place for call in again.calls]
    constant = [
        alike and torch.equal(call.other, other.other)
        for call, other in zip(watch.calls, again.calls if alike else watch.calls, strict=True)
    ]
    sums: dict[Place, Tensor] = {}
    for output in outputs.flatten():
        gradients = torch.autograd.grad(output, [call.h for call in watch.calls], retain_graph=True, allow_unused=True)
        for call, gradient, left_out in zip(watch.calls, gradients, constant, strict=True):
            total = sums.setdefault(call.place, torch.zeros(*call.place[2][:2], call.place[2][1], dtype=torch.float64))
            if gradient is not None and not left_out:
                rows = call.rows(gradient).double()
                total += rows.mT @ rows
    matrices = {}
    for place, total in sums.items():
        name, offset, shape, strides = place
        values = parameters[name].detach()
        weight = values.as_strided(shape, strides, values.storage_offset() + offset).clone()
        kinds = {kept for call, kept in zip(watch.calls, constant, strict=True) if call.place == place}
        matrices[place] = Matrix(weight, total / len(inputs), False in kinds, True in kinds)
    return Answer(matrices, watch.uses)


def _run(model: nn.Module, parameters: Mapping[str, nn.Parameter], inputs: Tensor) -> tuple[_Watch, Tensor]:
    with _Products(parameters) as products:
        outputs = model(inputs.clone())
    return products.watch, outputs
