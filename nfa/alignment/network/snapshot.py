"""The state of a network before it is measured, to be put back afterwards.

A forward pass can change a network: running statistics, counters, caches, lists of hidden states, tensors written in
place, generators of random numbers. ``Snapshot`` therefore keeps three things: the attributes of every module, the
contents of containers in them, and the values of tensors. Values cost memory, so the copies of parameters, which hardly
any forward pass changes, are dropped after the first pass if it left them alone. Tensors are put back in place, in the
same memory: the caller's optimizer and graph refer to it.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.utils._mode_utils import no_dispatch

from nfa.alignment.network.copies import tensors_in
from nfa.alignment.network.memory_labels import dense
from nfa.errors import describe

_Container = dict[Any, Any] | list[Any] | set[Any] | deque[Any]


@dataclass
class _Value:
    """A tensor and its value before the measurement.

    Attributes:
        tensor: The tensor.
        memory: Another tensor on its memory: ``p.data = ...`` gives the tensor itself other memory.
        copy: A copy of its value; None once the value need not be kept.
        computed: Whether autograd had computed it.
        version: How many times it had been changed in place.
    """

    tensor: Tensor
    memory: Tensor
    copy: Tensor | None
    computed: bool
    version: int

    @classmethod
    def of(cls, tensor: Tensor) -> "_Value":
        """Remember a tensor."""
        memory = tensor.detach()
        return cls(tensor, memory, memory.clone(), tensor.grad_fn is not None, _version(tensor))

    def untouched(self) -> bool:
        """Return True if value and version are unchanged; the version misses changes through ``p.data``."""
        return (
            self.copy is not None
            and _in_place(self.tensor, self.memory)
            and _version(self.tensor) == self.version
            and _alike(self.tensor, self.copy)
        )

    def restore(self) -> None:
        """Put the value back. A tensor that did not change is not written to: a graph of the caller's may hold it."""
        if not _in_place(self.tensor, self.memory):
            self.tensor.data = self.memory
        if self.copy is not None and not _alike(self.tensor, self.copy):
            with torch.inference_mode(self.tensor.is_inference()):
                self.tensor.detach().copy_(self.copy)
        if self.tensor.grad_fn is not None and not self.computed and not self.tensor._is_view():
            self.tensor.detach_()  # the network wrote a computed value to it, which keeps a graph alive


def _values(tensors: Iterable[Tensor]) -> list[_Value]:
    """Remember tensors; for sparse and nested ones, the dense tensors that they consist of."""
    found = []
    for tensor in tensors:
        if nn.parameter.is_lazy(tensor) or tensor.is_meta:
            continue  # such a tensor has no values
        found += [_Value.of(part) for part in _parts(tensor) if not part.is_meta]
    return found


def _parts(tensor: Tensor) -> list[Tensor]:
    """Dense tensors that hold the values of a tensor and share its memory."""
    if dense(tensor):
        return [tensor]
    whole = tensor.detach()
    if tensor.layout == torch.sparse_coo:
        return [whole._indices(), whole._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [whole.crow_indices(), whole.col_indices(), whole.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [whole.ccol_indices(), whole.row_indices(), whole.values()]
    if tensor.is_nested:
        return [whole.values()]
    return []  # an unknown layout


def _in_place(tensor: Tensor, memory: Tensor) -> bool:
    """Tell whether a tensor still has the memory that it had."""
    return tensor.data_ptr() == memory.data_ptr() and tensor.shape == memory.shape


def _alike(tensor: Tensor, copy: Tensor) -> bool:
    """Tell whether two tensors have the same values; NaN equals NaN."""
    if torch.equal(tensor, copy):
        return True
    if tensor.shape != copy.shape or not (tensor.is_floating_point() or tensor.is_complex()):
        return False
    return torch.equal(tensor.isnan(), copy.isnan()) and torch.equal(
        tensor.masked_fill(tensor.isnan(), 0), copy.masked_fill(copy.isnan(), 0)
    )


class Snapshot:
    """A snapshot of a network's attributes, buffers and parameters; ``restore`` puts them back."""

    def __init__(self, model: nn.Module) -> None:
        """Remember the present state of the network."""
        # A lazy module changes its class when it runs, which is not undone.
        modules = [module for module in model.modules() if not _lazy(module)]
        self._attributes = [(vars(module), dict(vars(module))) for module in modules]
        self._contents = [(held, _copied(held)) for held in _containers(vars(module) for module in modules)]
        parameters = {id(p): p for p in model.parameters() if not nn.parameter.is_lazy(p)}
        renormalised = {
            id(p)
            for module in modules
            if getattr(module, "max_norm", None) is not None  # an embedding: rows are scaled when they are looked up
            for p in module.parameters(recurse=False)
        }
        held = {id(tensor): tensor for module in modules for tensor in tensors_in(vars(module).values())}
        # A tensor that autograd computed is replaced by the next pass, not written to.
        others = (tensor for key, tensor in held.items() if key not in parameters and tensor.is_leaf)
        self._others = _values(others)
        self._generators = list(_generators(vars(module) for module in modules))
        self._parameters = _values(parameters.values())
        self._kept = renormalised
        self._hook = model.register_forward_hook(self._after_first_pass)

    def _after_first_pass(self, *_: Any) -> None:
        """Drop the copies of parameters that the pass did not change, in most networks all of them."""
        self._hook.remove()
        with no_dispatch():  # hide these operations from the mode that watches the pass
            for value in self._parameters:
                if id(value.tensor) not in self._kept and value.untouched():
                    value.copy = None

    def restore(self) -> None:
        """Put everything back; if one thing fails, continue with the others.

        Raises:
            ValueError: Something could not be put back.
        """
        self._hook.remove()
        failures: list[Exception] = []
        with torch.no_grad():
            for step in self._steps():
                try:
                    step()
                except Exception as error:  # a network's own kind of tensor or container can raise anything
                    failures.append(error)
        if failures:
            raise ValueError(f"the network could not be put back as it was: {describe(failures[0])}") from failures[0]

    def _steps(self) -> Iterator[Callable[[], Any]]:
        """Yield one function for each thing that is put back."""
        for attributes, before in self._attributes:
            yield partial(_put_back, attributes, before)
        for container, entries in self._contents:
            yield partial(_put_back, container, entries)
        for value in (*self._others, *self._parameters):
            yield value.restore
        yield from self._generators


def _generators(attributes: Iterable[dict[str, Any]]) -> Iterator[Callable[[], Any]]:
    """Yield functions that put back the state of each generator of random numbers in the modules' attributes."""
    for value in {id(value): value for held in attributes for value in held.values()}.values():
        if isinstance(value, torch.Generator):
            yield partial(value.set_state, value.get_state())
        elif isinstance(value, np.random.Generator):
            yield partial(setattr, value.bit_generator, "state", value.bit_generator.state)
        elif isinstance(value, np.random.RandomState):
            yield partial(value.set_state, value.get_state())
        elif isinstance(value, random.Random):
            yield partial(value.setstate, value.getstate())


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _lazy(module: nn.Module) -> bool:
    return isinstance(module, LazyModuleMixin) and module.has_uninitialized_params()


def _containers(values: Iterable[Any]) -> Iterator[_Container]:
    """Yield each list, dict and set in the attributes of modules once, at any depth."""
    seen: set[int] = set()
    stack = [entry for attributes in values for entry in attributes.values()]
    while stack:
        value = stack.pop()
        if isinstance(value, dict | list | tuple | set | deque) and id(value) not in seen:
            seen.add(id(value))
            stack.extend(value.values() if isinstance(value, dict) else value)
            if not isinstance(value, tuple):
                yield value


def _copied(container: _Container) -> _Container:
    """Copy the entries of a container; a ``copy`` method of its own might do more."""
    return dict(container) if isinstance(container, dict) else list(container)


def _same(container: _Container, before: _Container) -> bool:
    """Tell whether a container holds the same objects; ``==`` would compare tensors entry by entry."""
    if len(container) != len(before):
        return False
    if isinstance(container, dict) and isinstance(before, dict):
        entries = zip(container.items(), before.items(), strict=True)
        return all(key is other_key and value is other for (key, value), (other_key, other) in entries)
    return all(one is other for one, other in zip(container, before, strict=True))


def _put_back(container: _Container, before: _Container) -> None:
    if not _same(container, before):
        _refill(container, before)


def _refill(container: _Container, before: _Container) -> None:
    container.clear()
    if isinstance(container, dict | set):
        container.update(before)
    else:
        container.extend(before)
