"""Labels on memory: a tensor has the labels of all tensors that share its memory.

A view made later of a labelled tensor is labelled, too, without being followed. Keys are weak references to storages:
while such a reference exists, torch gives its key to no other storage.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, layout, strided
from torch.multiprocessing.reductions import StorageWeakRef

_STRIDED: layout = strided


def dense(tensor: Tensor) -> bool:
    """Tell whether a tensor has ordinary memory and strides: it is neither sparse nor nested."""
    return tensor.layout == _STRIDED and not tensor.is_nested


class Labels:
    """Maps the memory of tensors to sets of labels."""

    def __init__(self) -> None:
        """Begin without labels."""
        self._labels: dict[StorageWeakRef, frozenset[Any]] = {}

    def of(self, *tensors: Tensor) -> frozenset[Any]:
        """Return all labels of some tensors."""
        if not self._labels:
            return frozenset()
        found = (self._labels.get(StorageWeakRef(t.untyped_storage()), frozenset()) for t in tensors if dense(t))
        return frozenset().union(*found)

    def add(self, tensor: Tensor, labels: Iterable[Any]) -> None:
        """Give a tensor further labels."""
        if dense(tensor):
            key = StorageWeakRef(tensor.untyped_storage())
            self._labels[key] = self._labels.get(key, frozenset()) | frozenset(labels)

    def put(self, tensor: Tensor, labels: Iterable[Any]) -> None:
        """Give a tensor these labels in place of its own."""
        if dense(tensor):
            self._labels[StorageWeakRef(tensor.untyped_storage())] = frozenset(labels)

    def items(self) -> Iterator[tuple[StorageWeakRef, frozenset[Any]]]:
        """Iterate over memory and its labels."""
        return iter(self._labels.items())
