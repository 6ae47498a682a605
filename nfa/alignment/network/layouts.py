"""Weights that are copied into another order of their entries before they multiply.

``w.transpose(0, 1).contiguous()``, ``w.permute(...).reshape(...)`` and most ``einsum`` calls copy a parameter, so that
the operand of the product no longer shares its memory. ``EntryOrder`` remembers, axis by axis, how far an entry's
neighbours are in the copy and in the parameter. ``translated`` turns a matrix in the copy (sizes and strides) into the
matrix in the parameter, so that the layer is named by its place there. Where no sizes and strides describe it there,
the weight is left out with a reason.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nfa.alignment.network.naming import Axes


@dataclass(frozen=True)
class EntryOrder:
    """Order of a copy's entries, compared with the parameter's.

    Attributes:
        axes: (size, stride in the copy, stride in the parameter) of each axis, outermost first; a stride of 0 in the
            parameter where entries are repeated.
    """

    axes: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, copy: Tensor, source: Tensor) -> "EntryOrder":
        """Compare a copy with the tensor that was copied: a view of the parameter, or of a copy in the same order."""
        axes = zip(copy.shape, copy.stride(), source.stride(), strict=True)
        return cls(tuple(sorted((axis for axis in axes if axis[0] > 1), key=lambda axis: -axis[1])))

    def offset(self, elements: int) -> int | None:
        """Turn an offset in the copy into the offset in the source; None where it has none."""
        found = 0
        for size, stride, there in self.axes:
            index, elements = divmod(elements, stride)
            if index >= size:
                return None
            found += index * there
        return None if elements else found

    def along(self, size: int, stride: int) -> Axes | None:
        """Turn an axis of a view of the copy into axes of the parameter, outermost first; None if there are none."""
        pieces: Axes = []
        for n, own, there in reversed(self.axes):  # innermost first
            if size == 1:
                break
            if own <= stride < own * n:
                if stride % own or n % (stride // own):
                    return None
                step = stride // own
                room = n // step
                if size > room and size % room:
                    return None
                pieces.append((min(size, room), step * there))
                size, stride = (1, 0) if size <= room else (size // room, own * n)
        return pieces[::-1] if size == 1 else None


@dataclass(frozen=True)
class Translated:
    """A matrix of a copy, described as a matrix of the parameter.

    Attributes:
        shape: (g, k, *fan-in).
        strides: Strides in the parameter, one for each axis of ``shape``.
        row_axes: As in ``WeightView``.
        regroup: Brings rows (b, rows, size) of the copy's b blocks to the parameter's g blocks, (g, more rows, size).
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    row_axes: tuple[tuple[int, int], ...] = ()
    regroup: Callable[[Tensor], Tensor] | None = None


def translated(order: EntryOrder, shape: tuple[int, ...], strides: tuple[int, ...]) -> Translated | None:
    """Find a matrix of a copy in the parameter.

    Args:
        order: Order of the copy's entries.
        shape: (g, k, *fan-in) of the matrix in the copy.
        strides: Its strides in the copy.

    Returns:
        The matrix in the parameter; None if its rows or columns repeat entries, or its blocks are not evenly spaced.
    """
    blocks, rows, *columns = (
        order.along(size, stride) if size > 1 else [] for size, stride in zip(shape, strides, strict=True)
    )
    if blocks is None or rows is None or any(axes is None for axes in columns):
        return None
    fan_in = [axis for axes in columns for axis in axes or [(1, 1)]]
    if any(stride == 0 for _, stride in (*rows, *fan_in)):
        return None
    apart = [(place, axis) for place, axis in enumerate(blocks) if axis[1]]
    if len(apart) > 1:
        return None
    regroup = None
    (g, block) = apart[0][1] if apart else (1, 0)
    if len(blocks) != len(apart):
        sizes, place = [size for size, _ in blocks], apart[0][0] if apart else None
        regroup = _regrouping(sizes, place)
    one = rows[0] if len(rows) == 1 else (1, 1)
    return Translated(
        (g, shape[1], *(size for size, _ in fan_in)),
        (block, one[1], *(stride for _, stride in fan_in)),
        tuple(rows) if len(rows) > 1 else (),
        regroup,
    )


def _regrouping(sizes: list[int], place: int | None) -> Callable[[Tensor], Tensor]:
    """Make a function that turns repetitions of a block into further rows of that block."""

    def regroup(values: Tensor) -> Tensor:
        apart = values.unflatten(0, sizes)
        apart = apart[None] if place is None else apart.movedim(place, 0)
        rows: Tensor = apart.flatten(1, -2)
        return rows

    return regroup
