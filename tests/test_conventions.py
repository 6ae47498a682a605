"""What counts as having learned, and which control belongs to a quantity."""

import math

import pandas as pd
import pytest

from nfa.alignment.quantities import QUANTITIES
from nfa.conventions import CONTROLS, LEARNED_BELOW, has_learned


@pytest.mark.parametrize(
    ("scores", "better"),
    [
        ((0.05, 0.3, 0.09, 0.1), True),  # of a lower loss
        ((0.0895, 0.36, 0.09, 0.1), True),  # CIFAR-10 after ten epochs: hardly a lower loss, fewer errors
        ((0.47, 0.22, 0.09, 0.1), False),
        ((0.09, 0.1, 0.09, 0.1), False),
        ((0.5, math.nan, 1.0, math.nan), True),  # a regression
        ((0.9, math.nan, 1.0, math.nan), False),
        ((math.nan, math.nan, 1.0, math.nan), False),
    ],
)
def test_a_run_learned_by_its_loss_or_by_its_errors(scores: tuple[float, ...], better: bool) -> None:
    assert bool(has_learned(True, *scores)) is better
    assert not has_learned(False, *scores)
    columns = (pd.Series([score, score]) for score in scores)
    assert has_learned(pd.Series([True, False]), *columns).tolist() == [better, False]


def test_the_bound_itself_is_not_beaten() -> None:
    assert not has_learned(True, LEARNED_BELOW, 1 - LEARNED_BELOW * 0.5, 1.0, 0.5)


def test_controls_are_those_of_the_registry() -> None:
    registered = {each.name: (each.control, each.spread) for each in QUANTITIES.values() if each.spread}
    assert registered == CONTROLS
