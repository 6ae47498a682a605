"""The estimate counts what is measured."""

import pytest

from nfa.sweep.estimate import estimate, layer_sums
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
    assert sums[0].gram - sums[1].gram == 6 * 64**2 * 16 * 3 // 4  # 16 positions; K of a head has 16 x 16 entries
    before, after = (estimate(sweep, sweep.cells[0]) for sweep in (whole, cut))
    checkpoints = len(whole.cells[0].train.checkpoint_steps(1000))
    fewer = (
        50 * 10 * (sums[0].gram - sums[1].gram) + sums[0].algebra - sums[1].algebra
    ) / 8e9  # 50 samples, 10 outputs
    assert after.seconds - before.seconds == pytest.approx(2 * checkpoints * (18 * 0.016 - fewer))  # 2 seeds
    assert after.bytes > before.bytes * 1.1
    without = [estimate(sweep, sweep.cells[-1]) for sweep in (whole, cut)]
    assert without[0] == without[1]
