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

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import prod

import torch

from nfa.alignment.network.attention import PARTS, Operand
from nfa.alignment.network.interception import Interception, Seen
from nfa.alignment.network.layers import owner
from nfa.alignment.network.naming import Parts

NO_HEADS = (
    "heads: no attention, softmax(q k^T) v, with a projection of the samples was found in the forward pass, so no layer "
    "can be split by head: leave heads out"
)
MIXED_HEADS = (
    "heads: layer {layer!r}: attention does not divide the {rows} rows of its weight among heads of at most {size} rows "
    "each, so they cannot be split by head: leave heads out"
)


def rows_of_heads(watch: Interception) -> dict[str, dict[tuple[int, ...], str]]:
    """Find the rows of each head in every weight whose result attention uses as query, key or value.

    Args:
        watch: The mode that watched the forward pass, whose graph still exists.

    Returns:
        Parameter -> rows of a head -> its role: "q", "k", "v", or several of these where one product is several. Heads
        are in the order in which attention has them. A weight that holds a matrix for each head by itself is left out.

    Raises:
        ValueError: The rows of a projection cannot be told apart by head.
    """
    found: dict[str, dict[tuple[int, ...], str]] = {}
    for product, operands in _projections(watch):
        seen = watch.seen[product]
        if seen.view is None or seen.reading is None or seen.edge is None:
            continue
        if seen.view.shape[0] > 1 or seen.view.row_axes:
            continue  # a block for each head already
        columns, k = _columns(seen, operands), seen.view.shape[1]
        size = max(operand.size for operand in operands)
        start = seen.view.offset // seen.view.strides[1]  # first row of the parameter that this product used
        rows = {tuple(start + column for column in own): role for own, role in columns.items()}
        known = found.setdefault(seen.view.parameter, {})
        known |= {own: role for own, role in rows.items() if own not in known}
        entire = sum(map(len, rows)) == k and max(map(len, rows)) <= size
        if not entire or len(set().union(*known)) != sum(map(len, known)):
            raise ValueError(MIXED_HEADS.format(layer=owner(seen.view.parameter), rows=k, size=size))
    return found


def _projections(watch: Interception) -> Iterator[tuple[int, list[Operand]]]:
    """Yield products that only attention reads, with the queries, keys and values that come from them."""
    attending = watch.attending
    pairs = [(product, operand) for operand in attending.operands for product in operand.sources]
    for product, group in groupby(sorted(pairs, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        if product not in attending.elsewhere:
            yield product, [operand for _, operand in group]


def _columns(seen: Seen, operands: Sequence[Operand]) -> dict[tuple[int, ...], str]:
    """Find the columns of h on which the matrices of queries, keys and values depend, one set for each head."""
    assert seen.reading is not None
    assert seen.edge is not None
    k = seen.reading.shape[1]
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
                    used = (seen.reading.rows(gradient)[0] != 0).any(0).nonzero().flatten()
                    roles.setdefault(tuple(used.tolist()), set()).add(operand.role)
        if len(set().union(*roles)) == k:
            break
    roles.pop((), None)
    return {own: "".join(part for part in PARTS if part in role) for own, role in roles.items()}


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
        if len(rows) == 1:
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
