"""The samples that a network is measured on: their checks, batches, and a random part of them on request.

Inputs are one tensor (n, *input shape), or an iterable of batches, or of pairs of inputs and targets, as a DataLoader
gives them. Everything here reads them in one pass and keeps no more than it must, because they may not fit into memory.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from nfa.alignment.network.arguments import checked_whole
from nfa.alignment.network.layers import finite
from nfa.random import numpy_generator

Batch: TypeAlias = Tensor | tuple[Tensor, ...] | list[Tensor]
Inputs: TypeAlias = Tensor | Iterable[Batch]
Pair: TypeAlias = tuple[Tensor, Tensor | None]

DICT = (
    "inputs: a dict, not a tensor: network = nfa.Wrapped(model, lambda model, batch: model(**batch), batch) takes "
    "network.pack(batch)"
)


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Restore the random states that reading samples may change: a DataLoader draws a number from torch's."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is the one that loaders use
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def kept(inputs: Inputs) -> Inputs:
    """Read an iterable into a list, so that every later reading gives the same samples even if a loader shuffles."""
    if isinstance(inputs, Tensor | list | tuple | Mapping | np.ndarray) or not isinstance(inputs, Iterable):
        return inputs
    if isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset):
        return inputs  # ``pairs`` refuses it
    with random_states_kept():
        return list(inputs)


def pairs(inputs: Inputs, targets: Tensor | None = None) -> Iterator[Pair]:
    """Yield inputs with their targets, in the batches in which they come.

    Args:
        inputs: (n, *input shape), or an iterable of such batches or of (inputs, targets) pairs.
        targets: (n, ...) for all inputs together; None takes the targets in the pairs, if there are any.

    Raises:
        ValueError: A batch that is not a dense tensor, or targets that do not match.
    """
    if isinstance(inputs, tuple) and len(inputs) == 2:
        raise ValueError(
            "inputs: a pair could be inputs and targets, or batches: pass the inputs and targets=, or a list"
        )
    if isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset):
        raise ValueError("inputs: a Dataset gives one sample at a time: wrap it in a DataLoader")
    if isinstance(inputs, np.ndarray):
        raise ValueError("inputs: a numpy array is no tensor; torch.from_numpy makes one")
    if isinstance(inputs, Mapping):
        raise ValueError(DICT)
    if not isinstance(inputs, Tensor | Iterable):
        what = f"{type(inputs).__name__} is neither a tensor (n, ...) nor an iterable of batches"
        raise ValueError(f"inputs: {what}")
    if not isinstance(targets, Tensor | None):
        raise ValueError(f"targets: {type(targets).__name__} is no tensor; torch.as_tensor makes one")
    seen = 0
    for batch in [inputs] if isinstance(inputs, Tensor) else inputs:
        if isinstance(batch, Mapping):
            raise ValueError(DICT)
        part, target = _taken_apart(batch)
        if not isinstance(part, Tensor) or not (target is None or isinstance(target, Tensor)):
            raise ValueError(
                f"inputs: a batch is a {type(batch).__name__}, not a tensor or a pair of inputs and targets"
                f"{_way_out(batch)}"
            )
        if part.dim() == 0 or part.layout != torch.strided:
            kind = "a single number" if part.dim() == 0 else str(part.layout)
            raise ValueError(f"inputs: {kind}, not a dense tensor (n, ...)")
        if targets is not None:
            target = targets[seen : seen + len(part)] if targets.dim() else targets
        if target is not None and target.dim() == 0:
            raise ValueError("targets: a single number, not a tensor (n, ...)")
        if target is not None and len(target) != len(part):
            what = f"{seen + len(part)} inputs but {seen + len(target)} targets"
            raise ValueError(f"{what}: one target per sample is needed")
        seen += len(part)
        yield part, target
    if targets is not None and seen != len(targets):
        raise ValueError(f"{seen} inputs but {len(targets)} targets: one target per sample is needed")


def _taken_apart(batch: Any) -> tuple[Any, Any]:
    """Split a batch into inputs and targets; a ``TensorDataset`` of inputs alone gives tuples of one tensor."""
    if isinstance(batch, tuple | list) and len(batch) in (1, 2):
        return batch[0], batch[1] if len(batch) == 2 else None
    return batch, None


def _way_out(batch: Any) -> str:
    """Name the function that makes a tensor of a batch, if there is one."""
    parts = batch if isinstance(batch, tuple | list) else [batch]
    if any(isinstance(part, np.ndarray) for part in parts):
        return "; torch.from_numpy makes a tensor of a numpy array"
    if parts and all(isinstance(part, Real) for part in parts):
        return "; torch.tensor makes a tensor of numbers"
    return ""


def _refuse_unlike(first: Tensor, part: Tensor) -> None:
    """Refuse a batch whose samples have another shape or number type than those of the first batch.

    Raises:
        ValueError: Shape or number type differ.
    """
    if part.shape[1:] != first.shape[1:]:
        kinds = f"{tuple(part.shape[1:])} after samples of shape {tuple(first.shape[1:])}"
        raise ValueError(f"inputs: a batch with samples of shape {kinds}: pad them to one shape, or measure them apart")
    if part.dtype != first.dtype:
        kind, before = (str(tensor.dtype).removeprefix("torch.") for tensor in (part, first))
        raise ValueError(f"inputs: a batch of {kind} after batches of {before}: give all samples in one number type")


def batches(inputs: Inputs, batch_size: int, device: torch.device, targets: Tensor | None = None) -> Iterator[Pair]:
    """Cut samples into batches of at most ``batch_size``.

    Raises:
        ValueError: No samples, samples of several shapes or number types, values that are not finite, a batch that is
            no tensor, or a tensor on another device.
    """
    checked_whole("batch_size", batch_size)
    seen, first = 0, None
    for part, target in pairs(inputs, targets):
        first = part if first is None else first
        _refuse_unlike(first, part)
        if part.is_inference():
            part = part.clone()  # autograd does not take tensors that were made in torch.inference_mode
        if part.device != device:
            raise ValueError(f"inputs are on {part.device}, the network on {device}: move one of them")
        if not finite(part):
            raise ValueError("inputs hold NaN or infinity: nothing can be measured")
        seen += len(part)
        for start in range(0, len(part), batch_size):
            end = start + batch_size
            yield part[start:end], None if target is None else target[start:end]
    if seen == 0:
        raise ValueError("inputs: zero samples; at least one is needed")


def drawn(inputs: Inputs, samples: int, seed: int) -> tuple[Tensor, int]:
    """Draw ``samples`` of the samples at random, without replacement; all of them if there are no more.

    Every sample gets a random key, and those with the smallest keys are kept. This takes one pass, in the memory of the
    samples that are kept, and the result does not depend on the batches.

    Returns:
        The samples drawn, in their order, and the number N of all samples.

    Raises:
        ValueError: ``samples`` below 1, or no samples at all.
    """
    samples = checked_whole("samples", samples)
    generator = numpy_generator("samples", seed)
    kept = keys = places = None
    total = 0
    for part, _ in pairs(inputs):
        new_keys = torch.from_numpy(generator.random(len(part)))
        new_places = torch.arange(total, total + len(part))
        total += len(part)
        keys = new_keys if keys is None else torch.cat([keys, new_keys])
        places = new_places if places is None else torch.cat([places, new_places])
        smallest = keys.argsort()[:samples]
        smallest = smallest[places[smallest].argsort()]
        if kept is not None:
            _refuse_unlike(kept, part)
            part = torch.cat([kept, part])
        kept, keys, places = part[smallest.to(part.device)], keys[smallest], places[smallest]
    if kept is None or total == 0:
        raise ValueError("inputs: zero samples; at least one is needed")
    return kept, total


def regrouped(parts: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Cut a stream of samples into batches of ``size``, wherever it was cut before; the last batch may be smaller.

    >>> [len(batch) for batch in regrouped([torch.zeros(3), torch.zeros(4)], 2)]
    [2, 2, 2, 1]
    """
    waiting: list[Tensor] = []
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) >= size:
            joined = waiting[0] if len(waiting) == 1 else torch.cat(waiting)
            end = len(joined) - len(joined) % size
            yield from joined[:end].split(size)
            waiting = [joined[end:]]
    rest = torch.cat(waiting) if waiting else None
    if rest is not None and len(rest):
        yield rest
