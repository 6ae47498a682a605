"""Non-crossing partitions of 0, ..., m - 1, and their Kreweras complements.

A partition of points on a circle is non-crossing if the convex hulls of its blocks do not meet; there are Catalan(m)
such partitions. Write the points twice, 0, 0', 1, 1', ..., m - 1, (m - 1)'. The Kreweras complement K(pi) is the
coarsest partition of the primed points that does not cross pi. If blocks are read as cycles, K(pi) = pi^-1 gamma with
gamma: i -> i + 1 (Nica & Speicher, *Lectures on the Combinatorics of Free Probability*, lectures 9 and 18).
"""

from collections.abc import Iterator
from functools import cache
from itertools import combinations, pairwise, product

Partition = tuple[tuple[int, ...], ...]  # blocks ordered by smallest point, the points of a block ascending


@cache
def noncrossing_partitions(m: int) -> tuple[Partition, ...]:
    """List the Catalan(m) non-crossing partitions of m points; for m = 0 the empty partition.

    Example:
        >>> noncrossing_partitions(2)
        (((0,), (1,)), ((0, 1),))
    """
    return tuple(tuple(sorted(partition)) for partition in _partitions(tuple(range(m))))


def _partitions(points: tuple[int, ...]) -> Iterator[Partition]:
    """Choose the block of the first point in every way; the gaps between its points are partitioned independently."""
    if not points:
        yield ()
        return
    for size in range(len(points)):
        for chosen in combinations(range(1, len(points)), size):
            places = (0, *chosen)
            gaps = [points[low + 1 : high] for low, high in pairwise((*places, len(points)))]
            for parts in product(*(tuple(_partitions(gap)) for gap in gaps)):
                yield (tuple(points[place] for place in places), *(block for part in parts for block in part))


def kreweras_complement(partition: Partition) -> Partition:
    """Return the Kreweras complement: |pi| + |K(pi)| = m + 1 blocks, and K^2 rotates the points by one.

    Example:
        >>> kreweras_complement(((0, 1), (2,)))
        ((0,), (1, 2))
    """
    before = {point: block[i - 1] for block in partition for i, point in enumerate(block)}
    m = len(before)
    blocks, seen = [], set()
    for start in range(m):
        block, point = [], start
        while point not in seen:
            seen.add(point)
            block.append(point)
            point = before[(point + 1) % m]
        if block:
            blocks.append(tuple(sorted(block)))
    return tuple(blocks)
