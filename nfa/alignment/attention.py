"""Query, key and value projections, told apart where they share one weight."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

PARTS = ("q", "k", "v")
_HEADS = ("num_heads", "n_heads", "n_head", "nhead", "heads", "num_attention_heads")


@dataclass
class Consumption:
    """Which columns of a product h (..., k) the network went on to use together.

    Attributes:
        sets: Column sets of size k / 3 that operations took h apart into.
        otherwise: Whether some operation took another share of h.
    """

    sets: dict[tuple[int, ...], None] = field(default_factory=dict)
    otherwise: bool = False

    def note(self, tensor: Tensor, offset: int, k: int, *, whole: bool) -> None:
        """Note that an operation read this view of h.

        Args:
            tensor: The view.
            offset: Elements from h's first to its own.
            k: Columns of h.
            whole: It has as many entries as h.
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
        """The three column sets, in order, when h was used in disjoint thirds and in no other way; else nothing."""
        sets = sorted(self.sets)
        apart = len(sets) == len(PARTS) and len(set().union(*sets)) == k
        return sets if apart and not self.otherwise else []


def packed_rows(model: nn.Module) -> dict[str, dict[str, tuple[int, ...]]]:
    """Rows of query, key and value in the parameters of ``nn.MultiheadAttention``.

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
    """Heads of the attention module that a parameter belongs to: said by the nearest module around it; 1 if none."""
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
