from itertools import combinations
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfa.theory import kreweras_complement, noncrossing_partitions
from nfa.theory.noncrossing import Partition


def all_partitions(m: int) -> list[Partition]:
    """List every set partition of 0..m-1 by adding point after point to each block or to a new one."""
    found: list[list[list[int]]] = [[]]
    for point in range(m):
        found = [
            [[*block, point] if i == place else block for i, block in enumerate([*partition, []])]
            for partition in found
            for place in range(len(partition) + 1)
        ]
        found = [[block for block in partition if block] for partition in found]
    return [tuple(sorted(tuple(block) for block in partition)) for partition in found]


def crosses(partition: Partition) -> bool:
    """Return True if some a < b < c < d lie in two blocks by turns."""
    place = {point: i for i, block in enumerate(partition) for point in block}
    return any(
        place[a] == place[c] and place[b] == place[d] and place[a] != place[b]
        for a, b, c, d in combinations(range(len(place)), 4)
    )


@st.composite
def noncrossing(draw: st.DrawFn) -> Partition:
    partitions: tuple[Partition, ...] = noncrossing_partitions(draw(st.integers(1, 9)))
    index: int = draw(st.integers(0, len(partitions) - 1))
    return partitions[index]


@pytest.mark.parametrize("m", range(11))
def test_there_are_catalan_many(m: int) -> None:
    partitions = noncrossing_partitions(m)
    assert len(set(partitions)) == len(partitions) == comb(2 * m, m) // (m + 1)


@pytest.mark.parametrize("m", range(1, 8))
def test_they_are_the_partitions_that_do_not_cross(m: int) -> None:
    assert set(noncrossing_partitions(m)) == {p for p in all_partitions(m) if not crosses(p)}


@pytest.mark.parametrize("m", range(1, 9))
def test_narayana_many_have_b_blocks(m: int) -> None:
    for blocks in range(1, m + 1):
        count = sum(len(partition) == blocks for partition in noncrossing_partitions(m))
        assert count == comb(m, blocks) * comb(m, blocks - 1) // m


def test_complements_known_from_the_definition() -> None:
    assert kreweras_complement(((0,), (1,), (2,))) == ((0, 1, 2),)
    assert kreweras_complement(((0, 1, 2),)) == ((0,), (1,), (2,))
    assert kreweras_complement(((0, 1), (2,))) == ((0,), (1, 2))
    # Nica & Speicher, example 9.22: {1,2,7},{3},{4,6},{5},{8} -> {1},{2,3,6},{4,5},{7,8}.
    given = ((0, 1, 6), (2,), (3, 5), (4,), (7,))
    assert kreweras_complement(given) == ((0,), (1, 2, 5), (3, 4), (6, 7))


@settings(deadline=None)
@given(noncrossing())
def test_complement_is_the_coarsest_that_does_not_cross(partition: Partition) -> None:
    m = sum(map(len, partition))
    complement = kreweras_complement(partition)

    def together(other: Partition) -> Partition:
        """Points i at 2 i, primed points i' at 2 i + 1."""
        return tuple(tuple(2 * i for i in b) for b in partition) + tuple(tuple(2 * i + 1 for i in b) for b in other)

    assert len(partition) + len(complement) == m + 1
    assert not crosses(together(complement))
    for first, second in combinations(complement, 2):
        rest = [block for block in complement if block not in (first, second)]
        assert crosses(together((tuple(sorted(first + second)), *rest)))


@settings(deadline=None)
@given(noncrossing())
def test_twice_the_complement_turns_the_points_by_one(partition: Partition) -> None:
    m = sum(map(len, partition))
    turned = tuple(sorted(tuple(sorted((point - 1) % m for point in block)) for block in partition))
    assert kreweras_complement(kreweras_complement(partition)) == turned


@pytest.mark.parametrize("m", range(1, 6))
def test_complement_reverses_the_order(m: int) -> None:
    def finer(a: Partition, b: Partition) -> bool:
        return all(any(set(block) <= set(other) for other in b) for block in a)

    partitions = noncrossing_partitions(m)
    assert {kreweras_complement(p) for p in partitions} == set(partitions)
    for a in partitions:
        for b in partitions:
            assert finer(a, b) == finer(kreweras_complement(b), kreweras_complement(a))
