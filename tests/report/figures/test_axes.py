"""Axes of optimizer steps: logarithmic, or linear where checkpoints are spaced so."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from nfa.report.figures.chart import _evenly
from nfa.report.figures.style import step_axis
from nfa.sweep.grid import parse
from tests.helpers import tiny


@pytest.mark.parametrize(
    ("train", "linear"),
    [
        ({"steps": 1180, "checkpoints": 8, "spacing": "linear"}, True),
        ({"steps": 1180, "checkpoints": 8}, False),
        ({"steps": 5, "checkpoints": 8}, False),
        ({"steps": 5, "checkpoints": 2, "spacing": "linear"}, False),
    ],
)
def test_steps_of_a_linear_schedule_are_known_by_their_distances(train: dict[str, object], linear: bool) -> None:
    steps = parse(tiny(train=train), "x").cells[0].train.checkpoint_steps(200)
    assert _evenly(pd.Series(steps * 3)) is linear


def test_an_axis_has_the_scale_it_is_asked_for_and_step_0_on_it() -> None:
    axes = Figure().add_subplot()
    step_axis(axes, 1180)
    assert axes.get_xscale() == "symlog"
    other = Figure().add_subplot()
    step_axis(other, 1180, linear=True)
    assert other.get_xscale() == "linear"
    for each in (axes, other):
        low, high = each.get_xlim()
        assert low < 0 <= 1180 < high
