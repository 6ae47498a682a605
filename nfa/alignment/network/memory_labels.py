"""Labels on memory: a tensor has those of all tensors that share its memory."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, layout, strided
from torch.multiprocessing.reductions import StorageWeakRef

_STRIDED: layout = strided


def dense(tensor: Tensor) -> bool:
    """Whether a tensor is an ordinary one, with memory and strides: neither sparse nor nested."""
    return tensor.layout == _STRIDED and not tensor.is_nested


class Labels:
    """Labels by memory."""

    def __init__(self) -> None:
        """Begin with none."""
        self._labels: dict[StorageWeakRef, frozenset[Any]] = {}

    def of(self, *tensors: Tensor) -> frozenset[Any]:
        """All labels that some tensors have."""
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
        """Give a tensor these labels and no others."""
        if dense(tensor):
            self._labels[StorageWeakRef(tensor.untyped_storage())] = frozenset(labels)

    def items(self) -> Iterator[tuple[StorageWeakRef, frozenset[Any]]]:
        """All memory that has labels."""
        return iter(self._labels.items())
