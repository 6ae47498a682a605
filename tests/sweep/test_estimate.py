"""The estimate counts what is measured."""

import pytest

from nfa.alignment.quantities import haar
from nfa.sweep.cells import STAGES
from nfa.sweep.estimate import LARGEST_DECOMPOSED, LAYER_SECONDS, MULTIPLICATIONS_PER_SECOND, estimate, layer_sums
from tests.helpers import tiny_sweep

TRANSFORMER = {"name": "transformer", "depth": 2, "width": 64, "heads": 4, "patch": 7}


def test_each_head_is_a_layer_where_heads_are_measured() -> None:
    """14 matrices, of which 6 projections are cut into 4 heads each."""
    data = [{"name": "fashion_mini"}]
    whole, cut = (
        tiny_sweep(data=data, model=[TRANSFORMER, {"name": "mlp"}], measure={"samples": 50, "heads": heads})
        for heads in (False, True)
    )
    sums = [layer_sums(sweep.cells[0].network, heads=sweep.measure.heads) for sweep in (whole, cut)]
    assert [each.measured for each in sums] == [14, 14 + 6 * 3]
    assert sums[1].weights == sums[0].weights
    # 16 positions; K of a head has 16 x 16 entries, a product of which takes 4 times as long as its share of 64 x 64.
    assert sums[0].gram == sums[1].gram > 0
    before, after = (estimate(sweep, sweep.cells[0]) for sweep in (whole, cut))
    checkpoints = len(whole.cells[0].train.checkpoint_steps(1000))
    fewer = (50 * 10 * (sums[0].gram - sums[1].gram) + sums[0].algebra - sums[1].algebra) / MULTIPLICATIONS_PER_SECOND
    # The heads are 18 further layers of 2 seeds to measure, and no further layers to probe.
    assert after.seconds - before.seconds == pytest.approx(2 * checkpoints * (18 * LAYER_SECONDS - fewer))
    assert after.bytes > before.bytes * 1.1
    without = [estimate(sweep, sweep.cells[-1]) for sweep in (whole, cut)]
    assert without[0] == without[1]


def test_the_raw_input_of_data_that_seeds_share_is_scored_once() -> None:
    """A second seed of the same images adds its own work alone; of data that are drawn anew it adds everything."""
    shared, drawn = {"name": "fashion_mini"}, {"name": "chain_monomial", "dim": 64, "n_train": 5000}
    ratios = []
    for data in (shared, drawn):
        sweeps = [
            tiny_sweep(data=[data], model=[{"name": "mlp", "depth": 1, "width": 16}], seeds=seeds, probe={"rfm": 20})
            for seeds in (1, 11)
        ]
        one, many = (estimate(sweep, sweep.cells[0]).seconds - 0.1 * len(STAGES) for sweep in sweeps)
        ratios.append(many / one)
    assert ratios[0] < 9
    assert ratios[1] == pytest.approx(11)


def test_the_size_up_to_which_controls_are_decomposed_is_that_of_the_controls() -> None:
    """The estimate repeats the number, because it imports no torch."""
    assert LARGEST_DECOMPOSED == haar.LARGEST_DECOMPOSED
