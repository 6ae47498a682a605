"""Copies of a network: ``nfa.check``, ``nfa.Monitor`` and a start (``initial=``) need one.

``copy.deepcopy`` refuses tensors that autograd computed. A forward pass that stores one in an attribute, and
``torch.nn.utils.weight_norm``, leave such tensors; here they are copied without their graph. It also refuses sparse and
nested tensors in several layouts, which ``clone`` copies.
"""

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from nfa.alignment.network.memory_labels import dense


def deep_copy(model: nn.Module) -> nn.Module:
    """Copy a network with all it holds; tensors that autograd computed are detached in the copy.

    Raises:
        ValueError: It holds something that cannot be copied.
    """
    held = {id(tensor): tensor for module in model.modules() for tensor in tensors_in(vars(module).values())}
    memo: dict[int, Any] = {key: _clone(t) for key, t in held.items() if not (t.is_leaf and dense(t))}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # whatever the attributes' own ways of being copied raise
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise ValueError(f"{type(model).__name__} cannot be copied, which is needed here: {reason}") from error


def _clone(tensor: Tensor) -> Tensor:
    copied = tensor.detach().clone()
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def tensors_in(values: Iterable[Any], seen: set[int] | None = None) -> Iterator[Tensor]:
    """Yield the tensors among some values, also those inside lists, tuples, dicts and sets."""
    seen = set() if seen is None else seen
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict | list | tuple | set | deque) and id(value) not in seen:
            seen.add(id(value))  # a list may hold itself
            yield from tensors_in(value.values() if isinstance(value, dict) else value, seen)
