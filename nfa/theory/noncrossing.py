"""Non-crossing partitions of 0, ..., m - 1, and their Kreweras complements.

A partition of points on a circle is non-crossing when the hulls of its blocks do not meet. There are Catalan(m) of
them. Write the points twice, 0, 0', 1, 1', ..., m - 1, (m - 1)': the Kreweras complement K(pi) is the coarsest
partition of the primed points that does not cross pi. With blocks read as cycles, K(pi) = pi^-1 gamma,
gamma: i -> i + 1 (Nica & Speicher, *Lectures on the Combinatorics of Free Probability*, lectures 9 and 18).
"""

from collections.abc import Iterator
from functools import cache
from itertools import combinations, pairwise, product

Partition = tuple[tuple[int, ...], ...]  # blocks by their smallest point, the points of each ascending


@cache
def noncrossing_partitions(m: int) -> tuple[Partition, ...]:
    """List NC(m), Catalan(m) partitions; m = 0 has the empty one."""
    return tuple(tuple(sorted(partition)) for partition in _partitions(tuple(range(m))))


def _partitions(points: tuple[int, ...]) -> Iterator[Partition]:
    """Choose the first point's block; the gaps that it leaves are partitioned each by itself."""
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
    """Complement a non-crossing partition: |pi| + |K(pi)| = m + 1, and K^2 turns the points by one."""
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
