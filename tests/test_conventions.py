"""What counts as having learned, and which control belongs to a quantity."""

import math

import pandas as pd
import pytest
from scipy import stats

from nfa.alignment.quantities import QUANTITIES
from nfa.conventions import CONTROLS, LEARNED_SHARE, has_learned, learned_share, wilson_low

NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "n_test", "learned"),
    [
        ((0.05, 0.6, 0.09, 0.1), 1000, True),
        ((0.089, 0.56, 0.09, 0.1), 1000, True),  # the errors of classes count, not the loss
        ((0.01, 0.54, 0.09, 0.1), 1000, False),  # less than half of the way from .1 to 1
        ((0.6, 0.62, 0.69, 0.5), 1000, False),  # .62 of two classes
        ((0.5, 0.8, 0.69, 0.5), 1000, True),
        ((0.5, 0.8, 0.69, 0.5), 10, False),  # of ten samples eight are within chance
        ((0.3, 0.9, 0.4, 0.85), 1000, False),  # .9 where the largest class has .85
        ((0.4, NAN, 1.0, NAN), 1000, True),  # a regression
        ((0.6, NAN, 1.0, NAN), 1000, False),
        ((0.0, NAN, 0.0, NAN), 1000, False),  # the target does not vary
        ((NAN, NAN, 1.0, NAN), 1000, False),
    ],
)
def test_a_run_learned_by_half_of_the_way_from_the_best_constant(
    scores: tuple[float, float, float, float], n_test: int, learned: bool
) -> None:
    assert bool(has_learned(True, scores, (1.0, 0.5), n_test)) is learned
    assert not has_learned(False, scores, (1.0, 0.5), n_test)
    assert not has_learned(True, scores, (1.0, 1.0), n_test)  # the training loss is not below its start
    columns = tuple(pd.Series([score] * 3) for score in scores)
    losses = pd.Series([1.0, 1.0, 0.5]), pd.Series([0.5, 0.5, 0.5])
    found = has_learned(pd.Series([True, False, True]), columns, losses, pd.Series([n_test] * 3))  # type: ignore[arg-type]
    assert found.tolist() == [learned, False, False]


def test_the_bound_itself_is_not_beaten() -> None:
    assert float(learned_share(NAN, 0.75, NAN, 0.5)) == LEARNED_SHARE
    assert not has_learned(True, (NAN, 0.75, NAN, 0.5), (1.0, 0.5), 10**6)


@pytest.mark.parametrize("n", [1, 10, 1000])
@pytest.mark.parametrize("correct", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_the_interval_is_wilson_s(n: int, correct: float) -> None:
    found = stats.binomtest(round(correct * n), n).proportion_ci(0.95, method="wilson").low
    assert float(wilson_low(round(correct * n) / n, n)) == pytest.approx(found, abs=1e-6)


def test_controls_are_those_of_the_registry() -> None:
    registered = {each.name: (each.control, each.spread) for each in QUANTITIES.values() if each.spread}
    assert registered == CONTROLS
