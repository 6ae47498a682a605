"""Attention heads: which rows of a query, key or value projection belong to which head.

A head is one matrix product of attention, q k^T, for one sample. No attribute of a module is trusted to say how many
there are: ``Attending`` notes the queries, keys and values that a forward pass multiplies, in the shape (..., T, D) of
one matrix for each sample and head, and autograd tells on which columns of the projection h = W x each of these
matrices depends. These columns are the rows of W that make up the head. This holds for separate and for joint
projections, for keys and values that several heads share (grouped heads), and where heads are rotated by position or
normalised before they multiply.

The matrices of one sample must divide the columns of h among them, and none may depend on more columns than a head has
entries. Otherwise the heads cannot be told apart by rows of W, and the network is refused.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from math import prod

import torch

from nfa.alignment.network.attention import PARTS, Operand
from nfa.alignment.network.interception import Interception, Seen
from nfa.alignment.network.layers import WeightView, owner
from nfa.alignment.network.naming import Parts

NO_HEADS = (
    "heads: no attention, softmax(q k^T) v, of several heads was found in the forward pass, so no layer can be split "
    "by head: leave heads out"
)
REFUSED = "heads: layer {layer!r}: {why}, so its weight cannot be split by head: leave heads out"
SHARED = "a head of {size} entries depends on {used} of its {rows} rows"
IN_PART = "its heads use {used} of its {rows} rows, and {shared} rows belong to several heads"
GROUPED = "its {groups} groups are not the heads"
SCATTERED = "it is a part of a parameter whose rows run over several axes"


def rows_of_heads(watch: Interception) -> dict[str, dict[tuple[int, ...], str]]:
    """Find the rows of each head in every weight whose result attention uses as query, key or value.

    Args:
        watch: The mode that watched the forward pass, whose graph still exists.

    Returns:
        Parameter -> rows of a head -> its role: "q", "k", "v", or several of these where one product is several. Heads
        are in the order in which attention has them. A weight with a block for each head has no rows to be told apart.

    Raises:
        ValueError: The rows of a projection cannot be told apart by head.
    """
    found: dict[str, dict[tuple[int, ...], str]] = {}
    for product, operands in _projections(watch).items():
        seen = watch.seen[product]
        if seen.view is None or seen.reading is None or seen.edge is None:
            continue
        columns = _columns(seen, operands)
        known = found.setdefault(seen.view.parameter, {})
        why = _why_not(seen.view, list(columns), max(operand.size for operand in operands))
        if not why and (seen.view.shape[0] == 1 or len(columns) == 1):
            start = first_row(seen.view)
            rows = {tuple(start + column for column in own): role for own, role in columns.items()}
            known |= {own: role for own, role in rows.items() if own not in known}
            why = _not_divided(list(known), len(set().union(*known)))
        if why:
            raise ValueError(REFUSED.format(layer=owner(seen.view.parameter), why=why))
    return found


def _projections(watch: Interception) -> dict[int, list[Operand]]:
    """Map products to the queries, keys and values that come from them.

    A query may be the sum of several products, as where an adapter of low rank is added to a projection. A part of it
    that other weights multiply, too, is no projection: it is the network's residual stream, or shared by the heads.
    """
    found: dict[int, list[Operand]] = {}
    for operand in watch.attending.operands:
        for product in operand.sources:
            if len(operand.sources) == 1 or product not in watch.attending.elsewhere:
                found.setdefault(product, []).append(operand)
    return dict(sorted(found.items()))


def _columns(seen: Seen, operands: Sequence[Operand]) -> dict[tuple[int, ...], str]:
    """Find the columns of h, counted through all blocks, on which each matrix of queries, keys and values depends.

    Returns:
        Columns of a head -> its role.
    """
    assert seen.view is not None
    assert seen.reading is not None
    assert seen.edge is not None
    generator = torch.Generator().manual_seed(0)
    roles: dict[tuple[int, ...], set[str]] = {}
    for index in range(max(prod(operand.shape[:-2]) for operand in operands)):
        for operand in operands:
            if index < prod(operand.shape[:-2]):
                # A random direction: along (1, 1, ...) a normalised head has no derivative.
                along = torch.randn(operand.shape[-2:], generator=generator, dtype=torch.float64)
                direction = operand.like.new_zeros(operand.shape)
                direction.view(-1, *operand.shape[-2:])[index] = along.to(direction)
                (gradient,) = torch.autograd.grad(
                    [operand.edge], [seen.edge], [direction], retain_graph=True, allow_unused=True
                )
                if gradient is not None:
                    used = (seen.reading.rows(gradient) != 0).any(1).flatten().nonzero().flatten()
                    roles.setdefault(tuple(used.tolist()), set()).add(operand.role)
        if len(set().union(*roles)) == prod(seen.view.shape[:2]):
            break  # the heads of the first sample; the others have the same
    roles.pop((), None)
    return {own: "".join(part for part in PARTS if part in role) for own, role in roles.items()}


def _why_not(view: WeightView, heads: list[tuple[int, ...]], size: int) -> str:
    """Say why the rows of a matrix are not those of heads; empty if they are.

    Args:
        view: The matrix.
        heads: Rows of each head, counted through all blocks.
        size: Most entries of a head.
    """
    groups, k = view.shape[:2]
    if max(map(len, heads), default=0) > size:
        return SHARED.format(size=size, used=max(map(len, heads)), rows=groups * k)
    if why := _not_divided(heads, groups * k):
        return why
    if (
        groups > 1
        and len(heads) > 1
        and not all(own == tuple(range(own[0], own[0] + k)) and own[0] % k == 0 for own in heads)
    ):
        return GROUPED.format(groups=groups)
    return SCATTERED if groups == 1 and view.row_axes and view.offset and len(heads) > 1 else ""


def _not_divided(heads: list[tuple[int, ...]], rows: int) -> str:
    """Say why the rows of some heads are no division of a number of rows; empty if they are."""
    times = Counter(chain.from_iterable(heads))
    shared = sum(count > 1 for count in times.values())
    return IN_PART.format(used=len(times), rows=rows, shared=shared) if shared or len(times) < rows else ""


def first_row(view: WeightView) -> int:
    """Number of the first row of its parameter that a matrix of one block uses.

    Where the rows run over several axes, they are counted from the matrix's own first.
    """
    return 0 if view.row_axes else view.offset // view.strides[1]


def several(rows: dict[tuple[int, ...], str]) -> bool:
    """Tell whether rows from ``rows_of_heads`` are those of several heads; a weight of blocks has none to be told."""
    return not rows or len(rows) > len(set(rows.values()))


def by_head(whole: Parts | None, parameter: str, rows: dict[tuple[int, ...], str]) -> Parts | None:
    """Cut a weight into heads, named ``<layer>.<head>``.

    Args:
        whole: Names and rows of query, key and value where they are layers of their own; None for one layer.
        parameter: Name of the weight.
        rows: Rows of each head -> its role.

    Returns:
        Names and rows of the heads; a layer of one head keeps its name.
    """
    if whole is None:
        roles = dict.fromkeys(rows.values())
        if len(rows) < 2:
            return None
        name = owner(parameter)
        whole = {
            name if len(roles) == 1 else f"{name}.{role}": tuple(
                row for own, its in rows.items() if its == role for row in own
            )
            for role in roles
        }
    cut: Parts = {}
    for name, every in whole.items():
        inside = [own for own in rows if set(own) <= set(every)]
        cut |= {f"{name}.{head}": own for head, own in enumerate(inside)} if len(inside) > 1 else {name: every}
    return cut
