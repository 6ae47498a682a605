"""Query, key and value projections that share one weight, told apart by what attention does with their product.

Many transformers compute query, key and value in one product h = W x. Each third of W's rows is a layer of its own when
the network cuts h into three disjoint column sets and uses h in no other way: ``Consumption`` follows the views of h
that operations read. Where h is cut in another way (rotated by position, grouped by heads), W stays one layer, and
``Attending`` finds out that its result became query, key and value, or two of them, so that a note can say so. It
labels all that is computed from a product with the product's number until the next product, and looks at what meets in
the two products of attention, q k^T and softmax(q k^T) v. It also keeps where autograd finds these q, k and v, so that
``heads`` can cut the projections by head.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from nfa.alignment.network.memory_labels import Labels

PARTS = ("q", "k", "v")


@dataclass
class Consumption:
    """Which columns of a product h (..., k) later operations read together.

    Attributes:
        sets: Column sets of size k / 3 that operations read.
        otherwise: Whether some operation read another share of h.
    """

    sets: dict[tuple[int, ...], None] = field(default_factory=dict)
    otherwise: bool = False

    def note(self, tensor: Tensor, offset: int, k: int, *, whole: bool) -> None:
        """Note that an operation read a view of h.

        Args:
            tensor: The view.
            offset: Elements from the first of h to the first of the view.
            k: Columns of h.
            whole: Whether the view has as many entries as h.
        """
        if whole or self.otherwise:
            self.otherwise = True
            return
        columns = torch.tensor([offset % k])
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            if size > 1 and stride % k:
                columns = (columns[:, None] + stride * torch.arange(min(size, k))).flatten().remainder(k).unique()
        if len(columns) * len(PARTS) == k:
            self.sets[tuple(columns.tolist())] = None
        else:
            self.otherwise = True

    def thirds(self, k: int) -> list[tuple[int, ...]]:
        """Return the three column sets in order if h was used in disjoint thirds and in no other way, else nothing."""
        sets = sorted(self.sets)
        apart = len(sets) == len(PARTS) and len(set().union(*sets)) == k
        return sets if apart and not self.otherwise else []


_SOFTMAX, _SOFTMAXES = "softmax", ("_softmax", "_safe_softmax")
_BATCHED = ("bmm", "baddbmm", "addbmm")
_PRODUCTS = ("mm", "addmm", *_BATCHED)


@dataclass(frozen=True)
class _Scores:
    """Label of what is computed from the product q k^T with this number."""

    number: int


@dataclass(frozen=True, eq=False)
class Operand:
    """Queries, keys or values where attention multiplies them: a matrix for each sample and head.

    Attributes:
        role: "q", "k" or "v".
        edge: Where autograd gives the gradient by them.
        shape: (..., T, D) or, transposed, (..., D, T), with T positions and D entries of a head.
        size: D.
        like: An empty tensor of their number type, on their device.
        sources: Numbers of the products with a weight that they are computed from.
    """

    role: str
    edge: GradientEdge
    shape: tuple[int, ...]
    size: int
    like: Tensor
    sources: frozenset[int]


class Attending:
    """Finds products with a weight that give query, key and value, alone or together.

    Attributes:
        together: Number of a product -> "query, key and value" or "key and value", where it gives several.
        operands: Queries, keys and values of all attention in the pass.
        elsewhere: Products whose result also meets another weight on a way that does not lead through attention.
    """

    def __init__(self) -> None:
        """Begin without products."""
        self.together: dict[int, str] = {}
        self.operands: list[Operand] = []
        self.elsewhere: set[int] = set()
        self._candidates: list[tuple[Operand | None, Operand | None]] = []  # both sides of products that may be q k^T
        self._sources = Labels()  # the products that a tensor was computed from, with no other product in between
        self._scores: set[int] = set()  # products that gave both sides of a product of two tensors
        self._queried: set[int] = set()  # those of them that went into a softmax
        self._sizes: dict[int, int] = {}

    def start(self, result: Tensor, product: int, operands: Iterable[Tensor]) -> None:
        """Note a product of some operands with a weight."""
        self.elsewhere |= self._projections(self._sources.of(*operands))
        self._sources.put(result, (product,))
        self._sizes[product] = result.numel()

    def end(self, result: Tensor) -> None:
        """Note a product with a matrix that is computed from parameters: no layer, but as much a product as one."""
        self._sources.put(result, (label for label in self._sources.of(result) if not isinstance(label, int)))

    def note(self, name: str, args: Any, tensors: list[Tensor], outputs: Iterable[Tensor]) -> None:
        """Note an operation on tensors that are computed from the samples."""
        if "scaled_dot_product" in name and "attention" in name:
            self._keep(*(self._operand(role, tensor, -1) for role, tensor in zip(PARTS, args[:3], strict=True)))
            query, key, value = (self._sources.of(tensor) for tensor in args[:3])
            for product in key & value:
                if self._is_part(args[2], product):
                    self.together[product] = "query, key and value" if product in query else "key and value"
            return
        labels = self._sources.of(*tensors)
        if not labels:
            return
        if name in _PRODUCTS and len(tensors) >= 2:
            left, right = (self._sources.of(tensor) for tensor in tensors[-2:])
            labels |= self._meet(tensors[-2], tensors[-1], batched=name in _BATCHED)
            shared = {product for product in left & right if isinstance(product, int)}
            self._scores |= shared
            for product in shared if _SOFTMAX in left ^ right else ():
                if self._is_part(tensors[-1] if _SOFTMAX in left else tensors[-2], product):
                    both = product in self._queried
                    self.together[product] = "query, key and value" if both else "key and value"
        if name in _SOFTMAXES:
            self._queried |= {product for product in labels if product in self._scores}
            labels |= {_SOFTMAX}
        for output in outputs:
            self._sources.add(output, labels)

    def roles(self) -> dict[int, set[str]]:
        """Map products to the roles in attention of what is computed from them."""
        found: dict[int, set[str]] = {}
        for operand in self.operands:
            for product in operand.sources:
                found.setdefault(product, set()).add(operand.role)
        return found

    def _meet(self, first: Tensor, second: Tensor, *, batched: bool) -> set[Any]:
        """Note a product of two tensors, which may be q k^T or softmax(q k^T) v; return further labels of its result.

        Only a batched product can be q k^T with a query or key that is no function of the samples: else it is what any
        layer computes.
        """
        left, right = self._sources.of(first), self._sources.of(second)
        if _SOFTMAX in left ^ right:
            value = self._operand("v", second, -1) if _SOFTMAX in left else self._operand("v", first, -2)
            scores = [label.number for label in left | right if isinstance(label, _Scores)]
            for score in scores:
                self._keep(*self._candidates[score], value)
        elif _SOFTMAX not in left and (batched or (left and right)):
            self._candidates.append((self._operand("q", first, -1), self._operand("k", second, -2)))
            return {_Scores(len(self._candidates) - 1)}
        return set()

    def _operand(self, role: str, tensor: Tensor, axis: int) -> Operand | None:
        """Describe a query, key or value, whose entries lie along an axis; None if it comes from no projection."""
        sources = self._projections(self._sources.of(tensor))
        if not sources or not tensor.requires_grad:
            return None
        shape = tuple(tensor.shape)
        return Operand(role, get_gradient_edge(tensor), shape, shape[axis], tensor.new_empty(0), sources)

    def _keep(self, *operands: Operand | None) -> None:
        """Keep what attention multiplies."""
        self.operands += [operand for operand in operands if operand is not None and operand not in self.operands]

    @staticmethod
    def _projections(labels: frozenset[Any]) -> frozenset[int]:
        """Select the products among labels; none if they have gone through attention."""
        return frozenset() if _SOFTMAX in labels else frozenset(label for label in labels if isinstance(label, int))

    def _is_part(self, tensor: Tensor, product: int) -> bool:
        """Tell whether a tensor is small enough to be a part of a product's columns."""
        return isinstance(product, int) and tensor.numel() < self._sizes[product]


def packed_rows(model: nn.Module) -> dict[str, dict[str, tuple[int, ...]]]:
    """Find the rows of query, key and value in the parameters of every ``nn.MultiheadAttention``.

    Returns:
        Parameter name -> layer name -> rows.
    """
    packed: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            prefix = f"{name}." if name else ""
            e = module.embed_dim
            if module.in_proj_weight is not None:
                packed[f"{prefix}in_proj_weight"] = {
                    f"{prefix}{part}": tuple(range(i * e, (i + 1) * e)) for i, part in enumerate(PARTS)
                }
            else:
                packed |= {f"{prefix}{part}_proj_weight": {f"{prefix}{part}": tuple(range(e))} for part in PARTS}
    return packed
