"""Which cells have one job for their stages, and the regular expressions that tell Snakemake."""

import random
import re
from itertools import pairwise

import pytest

from benchmarks.overhead import tiny as benchmark
from nfa.stages.small import cell_patterns, pattern
from nfa.sweep.estimate import estimate
from nfa.sweep.grid import load, parse
from tests.helpers import ROOT, tiny, tiny_sweep


def told_apart(ids: list[str], others: list[str]) -> int:
    """Demand that a pattern matches some ids and not the others, as Snakemake tries them; return its length."""
    written = pattern(ids, others)
    output = re.compile(f"results/x/(?P<cell>{written})/cell\\.json$")
    for names, are in ((ids, True), (others, False)):
        for name in names:
            assert bool(re.match(written, name)) == are, name
            found = output.match(f"results/x/{name}/cell.json")
            assert (found is not None and found["cell"] == name) == are, name
    return len(written)


def test_the_cells_of_the_default_sweep_are_large_and_tiny_ones_small() -> None:
    default, many = load(ROOT / "config" / "config.yaml"), parse(benchmark(200), "x")
    assert {estimate(default, cell).small for cell in default.cells} == {False}
    assert {estimate(many, cell).small for cell in many.cells} == {True}
    assert cell_patterns(default) == ("(?!)", "[^/]+")
    assert cell_patterns(many) == ("[^/]+", "(?!)")


def test_other_cells_change_nothing_and_the_limit_is_one() -> None:
    steps = [30, 1000, 4000, 5000, 6000, 20_000]
    together = tiny_sweep(train=[{"steps": number, "batch_size": 32} for number in steps])
    for number in steps:
        alone = tiny_sweep(train={"steps": number, "batch_size": 32})
        for cell in alone.cells:
            assert estimate(alone, cell) == estimate(together, together.cell(cell.id))
    costs = sorted((estimate(together, cell) for cell in together.cells), key=lambda cost: cost.seconds)
    assert {cost.small for cost in costs} == {True, False}
    assert all(one.small or not other.small for one, other in pairwise(costs))


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_thousands_of_cells_are_told_apart_by_their_hashes(share: float) -> None:
    draw = random.Random(0)
    names = [f"a-n2.mlp-w{draw.randrange(9)}-s0.{draw.randrange(10)}.{draw.getrandbits(32):08x}" for _ in range(4000)]
    kind = [draw.random() < share for _ in names]
    ids, others = ([name for name, one in zip(names, kind, strict=True) if one is wanted] for wanted in (True, False))
    length = told_apart(ids, others) + told_apart(others, ids)
    assert length < 4 * len(names)  # Snakemake reads through it for every output of every job


def test_cells_that_differ_in_their_names_are_told_apart_in_a_few_characters() -> None:
    draw = random.Random(1)
    named = {w: [f"chain-r3.mlp-d2-w{w}.sgd.{draw.getrandbits(32):08x}" for _ in range(500)] for w in (8, 16, 64)}
    assert told_apart(named[8] + named[16], named[64]) < 60
    assert told_apart(named[64], named[8] + named[16]) < 60


def test_ids_that_end_in_one_hash_are_told_apart() -> None:
    told_apart(["a.mlp.sgd.0123abcd", "a.mlp.adam.11111111"], ["b+c.mlp.sgd.0123abcd", "a.mlp-s0.3.sgd.0123abce"])


def test_a_mixed_sweep_has_both() -> None:
    sweep = parse(tiny(train=[{"steps": 30}, {"steps": 20_000}]), "x")
    small, large = cell_patterns(sweep)
    for cell in sweep.cells:
        matches = [bool(re.fullmatch(written, cell.id)) for written in (small, large)]
        assert matches == [cell.train.steps == 30, cell.train.steps == 20_000]
