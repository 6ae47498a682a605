"""Where the entries of a copy lie in the parameter that it was made of, when the copy has them in another order."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nfa.alignment.network.naming import Axes


@dataclass(frozen=True)
class EntryOrder:
    """Axes of a copy, outermost first.

    Attributes:
        axes: (size, stride in the copy, stride in the parameter; 0 where entries are repeated).
    """

    axes: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, copy: Tensor, source: Tensor) -> "EntryOrder":
        """Compare a copy with a source that lies in the parameter (or in a copy of the same layout)."""
        axes = zip(copy.shape, copy.stride(), source.stride(), strict=True)
        return cls(tuple(sorted((axis for axis in axes if axis[0] > 1), key=lambda axis: -axis[1])))

    def offset(self, elements: int) -> int | None:
        """Turn elements from the copy's first into elements from the source's first."""
        found = 0
        for size, stride, there in self.axes:
            index, elements = divmod(elements, stride)
            if index >= size:
                return None
            found += index * there
        return None if elements else found

    def along(self, size: int, stride: int) -> Axes | None:
        """Turn an axis of a view of the copy into axes of the parameter, outermost first; None where that fails."""
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
    """A matrix of a copy, in the parameter.

    Attributes:
        shape: (g, k, *fan-in).
        strides: In the parameter.
        row_axes: As in ``WeightView``.
        regroup: (b, rows, size) by the b blocks of the copy -> (g, more rows, size) by those of the parameter.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    row_axes: tuple[tuple[int, int], ...] = ()
    regroup: Callable[[Tensor], Tensor] | None = None


def translated(order: EntryOrder, shape: tuple[int, ...], strides: tuple[int, ...]) -> Translated | None:
    """Find a matrix of a copy in the parameter.

    Returns:
        None where it is none there: rows or columns that repeat entries, or blocks in no even distances.
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
    """Take the repetitions of a block for more rows of it."""

    def regroup(values: Tensor) -> Tensor:
        apart = values.unflatten(0, sizes)
        apart = apart[None] if place is None else apart.movedim(place, 0)
        rows: Tensor = apart.flatten(1, -2)
        return rows

    return regroup
