"""Copies of a network, also of one that keeps computed tensors, which torch does not copy."""

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn


def deep_copy(model: nn.Module) -> nn.Module:
    """Copy a network with all it holds.

    ``copy.deepcopy`` refuses tensors that autograd computed. A forward pass that stores one in an attribute, and
    ``torch.nn.utils.weight_norm``, leave such tensors; in the copy they are detached from the graph.

    Raises:
        ValueError: It holds something else that cannot be copied.
    """
    held = {id(tensor): tensor for module in model.modules() for tensor in tensors_in(vars(module).values())}
    memo: dict[int, Any] = {key: tensor.detach().clone() for key, tensor in held.items() if not tensor.is_leaf}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # whatever the attributes' own ways of being copied raise
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise ValueError(f"{type(model).__name__} cannot be copied, which is needed here: {reason}") from error


def tensors_in(values: Iterable[Any], seen: set[int] | None = None) -> Iterator[Tensor]:
    """Give the tensors among values, those in lists, tuples, dicts and sets included."""
    seen = set() if seen is None else seen
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict | list | tuple | set | deque) and id(value) not in seen:
            seen.add(id(value))  # a list may hold itself
            yield from tensors_in(value.values() if isinstance(value, dict) else value, seen)
