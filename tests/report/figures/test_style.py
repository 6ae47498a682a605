"""Axes that figures share: steps on a logarithmic or linear axis, and depths from the output."""

from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from nfa.report.figures.style import depth_axis, step_axis


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


@pytest.mark.parametrize("deepest", [0, 3, 10, 25, 200])
def test_few_depths_are_labelled_and_the_output_is_among_them(deepest: int) -> None:
    axes = Figure().add_subplot()
    depth_axis(axes, deepest, margin=0.3)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels[0] == "out"
    assert len(labels) <= 11
    numbers = [0, *map(int, labels[1:])]
    assert len({b - a for a, b in pairwise(numbers)}) <= 1
    assert axes.get_xlim() == (deepest + 0.3, -0.3)
