"""Names of layers by the place of their entries in a parameter, the same in every forward pass.

Passes over different samples can meet different matrices of one parameter in a different order (experts), so a running
number would name another matrix in each pass. A name is therefore the parameter's, with the index that gives the matrix
if it is not the whole parameter: ``experts.w[3]``, ``qkv[0:16]``. Only several readings of the same entries, such as W
and its transpose, are counted, in the order in which they are first seen: ``w``, ``w^T``, ``w#2``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from nfa.alignment.network.layers import WeightView, owner

Axes: TypeAlias = list[tuple[int, int]]  # (size, stride)
Parts: TypeAlias = dict[str, tuple[int, ...]]  # name of a part -> its rows


class Names:
    """Names of the matrices of one network, kept from pass to pass.

    Attributes:
        parts: Parameter -> names and rows of query, key and value if they are separate layers, else None. Decided in
            the first pass that multiplies by the parameter, so that all passes measure the same matrices.
        with_heads: Whether some pass had attention that can be cut by head.
        stored: Memory that earlier passes computed from parameters -> those parameters.
    """

    def __init__(self, like: "Names | None" = None) -> None:
        """Begin without names, or with those of another network that has the same parameters."""
        self._known: dict[WeightView, str] = {} if like is None else dict(like._known)
        self._readings: dict[str, int] = {} if like is None else dict(like._readings)
        self.parts: dict[str, Parts | None] = {} if like is None else dict(like.parts)
        self.with_heads: bool = like is not None and like.with_heads
        self.stored: dict[StorageWeakRef, frozenset[str]] = {}
        self._own: frozenset[str] | None = None

    def own(self, parameters: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Select the parameters that existed before the first pass; a pass may make new layers."""
        if self._own is None:
            self._own = frozenset(parameters)
        return {name: parameter for name, parameter in parameters.items() if name in self._own}

    def of(self, view: WeightView, parameter: Tensor) -> str:
        """Name a matrix by its parameter, its place if it is not the whole parameter, and which reading of it it is.

        Where one place is read in several ways (a matrix and its transpose), the first reading has no suffix.
        """
        step = parameter.stride(0) if parameter.dim() else 1
        sizes = zip(view.shape, view.strides, strict=True)
        # The stride of an axis with a single entry means nothing: give it one value, so that views compare equal.
        view = replace(view, strides=tuple(step if size == 1 else stride for size, stride in sizes))
        if not parameter.is_contiguous():
            view = _as_if_contiguous(view, parameter)
        if view not in self._known:
            place = owner(view.parameter)
            if view.numel != parameter.numel():
                place += place_in(parameter, view.offset, view.axes)
            before = self._readings.get(place, 0)
            self._readings[place] = before + 1
            self._known[view] = place + ("" if not before else "^T" if before == 1 else f"#{before}")
        return self._known[view]


def _as_if_contiguous(view: WeightView, parameter: Tensor) -> WeightView:
    """Rewrite a view of a parameter in another memory format (channels last) as that of a contiguous parameter."""
    steps, contiguous = 1, []
    for size in reversed(parameter.shape):
        contiguous.append(steps)
        steps *= size
    strides = dict(zip(parameter.stride(), reversed(contiguous), strict=True))
    if view.offset or view.row_axes or any(stride not in strides for stride in view.strides if stride):
        return view
    return replace(view, strides=tuple(strides[stride] if stride else 0 for stride in view.strides))


def place_in(parameter: Tensor, offset: int, axes: Iterable[tuple[int, int]]) -> str:
    """Write the place of some entries of a parameter as an index: ``[3]``, ``[0:2]``, ``[:,4:8]``.

    Args:
        parameter: The parameter.
        offset: Elements from the parameter's first entry to the first of the place.
        axes: (size, stride) of the axes that the place runs over.

    Example:
        >>> import torch
        >>> place_in(torch.zeros(4, 6, 3), 18, [(6, 3), (3, 1)])
        '[1]'
    """
    ranges = ranges_in(parameter, offset, axes)
    if ranges is None:  # no index gives these entries: a diagonal, for example
        runs = ",".join(f"{size}/{stride}" for size, stride in sorted(axes, key=lambda axis: -axis[1]))
        return f"[{offset}+{runs}]"
    parts = []
    for axis, (start, size, step) in enumerate(ranges):
        if (start, size, step) == (0, parameter.shape[axis], 1):
            parts.append(":")
        elif size == 1 and not (axis == 0 and parameter.dim() == 2 and parameter.shape[1] > 1):
            parts.append(str(start))
        else:
            parts.append(f"{start}:{start + (size - 1) * step + 1}" + (f":{step}" if step > 1 else ""))
    while parts and parts[-1] == ":":
        parts.pop()
    return f"[{','.join(parts)}]"


def ranges_in(parameter: Tensor, offset: int, axes: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]] | None:
    """Find the entries along each axis of a parameter that a place covers.

    Returns:
        (first, number, step) along each axis; None where no index with ranges gives the place.
    """
    strides = parameter.stride()
    own = sorted(range(parameter.dim()), key=lambda axis: -strides[axis])
    first = [0] * parameter.dim()
    rest = offset
    for axis in own:
        first[axis], rest = divmod(rest, parameter.stride(axis)) if parameter.stride(axis) else (0, rest)
    found = [(start, 1, 1) for start in first]
    if rest or any(start >= size for start, size in zip(first, parameter.shape, strict=True)):
        return None
    for size, stride in split(axes, [(parameter.shape[axis], strides[axis]) for axis in own]):
        along = [a for a in own if strides[a] <= stride < strides[a] * parameter.shape[a]]
        if not along or stride % strides[along[0]]:
            return None
        axis = along[0]
        start, count, step = found[axis]
        own_step = stride // parameter.stride(axis)
        if count == 1:
            found[axis] = (start, size, own_step)
        elif own_step == count * step:  # continues the inner one
            found[axis] = (start, count * size, step)
        else:
            return None
        if found[axis][0] + (found[axis][1] - 1) * found[axis][2] >= parameter.shape[axis]:
            return None
    return found


def split(axes: Iterable[tuple[int, int]], along: Axes) -> Axes:
    """Cut each axis that runs over several axes of a tensor into one piece per axis; pieces are innermost first.

    Args:
        axes: (size, stride) of a view.
        along: (size, stride) of the tensor.
    """
    pieces: Axes = []
    for size, stride in axes:
        while True:
            inside = [
                (s * n) // stride for n, s in along if s and n > 1 and s <= stride < s * n and s * n % stride == 0
            ]
            room = inside[0] if inside else size
            if size <= room or size % room:
                break
            pieces.append((room, stride))
            size, stride = size // room, stride * room
        pieces.append((size, stride))
    return sorted(((size, stride) for size, stride in pieces if size > 1), key=lambda piece: piece[1])


def unused_places(parameter: Tensor, used: Iterable[WeightView]) -> Mapping[str, tuple[int, int]]:
    """Find the slices ``[i]`` of a parameter of three or more axes that none of some matrices uses.

    Experts are often slices of one parameter, and samples reach only some of them.

    Returns:
        Index of a slice -> its first entry and the one past its last. Empty where a matrix is not made of such slices.
    """
    if parameter.dim() < 3 or not parameter.is_contiguous():
        return {}
    covered: set[int] = set()
    for view in used:
        ranges = ranges_in(parameter, view.offset, view.axes)
        if ranges is None:
            return {}
        start, count, step = ranges[0]
        covered |= set(range(start, start + count * step, step))
    size = parameter.stride(0)
    return {f"[{i}]": (i * size, (i + 1) * size) for i in range(len(parameter)) if i not in covered}
