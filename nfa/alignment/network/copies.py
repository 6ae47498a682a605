"""Copies of a network: ``nfa.check``, ``nfa.Monitor`` and a start (``initial=``) need one.

``copy.deepcopy`` refuses tensors that autograd computed. A forward pass that stores one in an attribute, and
``torch.nn.utils.weight_norm``, leave such tensors; here they are copied without their graph. Sparse and nested tensors
torch copies in some layouts only; where it does not, the error names the tensor.
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
    memo: dict[int, Any] = {key: tensor.detach().clone() for key, tensor in held.items() if not tensor.is_leaf}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # whatever the attributes' own ways of being copied raise
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not dense(tensor):
                kind = "nested" if tensor.is_nested else "sparse"
                raise ValueError(
                    "the network cannot be copied, which check, Monitor and initial= need: "
                    f"{name!r} is a {kind} tensor, which torch does not copy; make it dense"
                ) from error
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise ValueError(f"{type(model).__name__} cannot be copied, which is needed here: {reason}") from error


def tensors_in(values: Iterable[Any], seen: set[int] | None = None) -> Iterator[Tensor]:
    """Yield the tensors among some values, also those inside lists, tuples, dicts and sets."""
    seen = set() if seen is None else seen
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict | list | tuple | set | deque) and id(value) not in seen:
            seen.add(id(value))  # a list may hold itself
            yield from tensors_in(value.values() if isinstance(value, dict) else value, seen)
