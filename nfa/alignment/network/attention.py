"""Query, key and value projections that share one weight, told apart by what attention does with their product.

Many transformers compute query, key and value in one product h = W x. Each third of W's rows is a layer of its own when
the network cuts h into three disjoint column sets and uses h in no other way: ``Consumption`` follows the views of h
that operations read. Where h is cut in another way (rotated by position, grouped by heads), W stays one layer, and
``Attending`` finds out that its result became query, key and value, or two of them, so that a note can say so. It
labels all that is computed from a product with the product's number until the next product, and looks at what meets in
the two products of attention, q k^T and softmax(q k^T) v.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.network.memory_labels import Labels

PARTS = ("q", "k", "v")
_HEADS = ("num_heads", "n_heads", "n_head", "nhead", "heads", "num_attention_heads")


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
_PRODUCTS = ("mm", "bmm", "baddbmm", "addmm", "addbmm")


class Attending:
    """Finds products with a weight that give query, key and value, or two of them, together.

    Attributes:
        together: Number of a product -> "query, key and value" or "key and value".
    """

    def __init__(self) -> None:
        """Begin without products."""
        self.together: dict[int, str] = {}
        self._sources = Labels()  # the products that a tensor was computed from, with no other product in between
        self._scores: set[int] = set()  # products that gave both sides of a product of two tensors
        self._queried: set[int] = set()  # those of them that went into a softmax
        self._sizes: dict[int, int] = {}

    def start(self, result: Tensor, product: int) -> None:
        """Note a product with a weight."""
        self._sources.put(result, (product,))
        self._sizes[product] = result.numel()

    def note(self, name: str, args: Any, tensors: list[Tensor], outputs: Iterable[Tensor]) -> None:
        """Note an operation on tensors that are computed from the samples."""
        if "scaled_dot_product" in name and "attention" in name:
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


def head_count(model: nn.Module, parameter: str) -> int:
    """Number of heads of the attention that a parameter belongs to: an attribute of the nearest module, else 1."""
    path = parameter.split(".")[:-1]
    for length in range(len(path), -1, -1):
        module = model.get_submodule(".".join(path[:length]))
        for attribute in _HEADS:
            heads = getattr(module, attribute, None)
            if isinstance(heads, int):
                return heads
    return 1


def by_head(parts: dict[str, tuple[int, ...]], heads: int) -> dict[str, tuple[int, ...]]:
    """Cut the rows of each part into heads, named ``<part>.<head>``; parts whose rows do not divide stay whole."""
    cut: dict[str, tuple[int, ...]] = {}
    for name, rows in parts.items():
        size = len(rows) // heads
        if heads == 1 or len(rows) % heads:
            cut[name] = rows
        else:
            cut |= {f"{name}.{head}": rows[head * size : (head + 1) * size] for head in range(heads)}
    return cut
