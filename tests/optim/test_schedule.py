"""Learning rates over training: schedules and warm-up."""

import re
from typing import get_args

import pytest

from nfa.optim.schedule import SCHEDULES, ScheduleName, schedule_factor


def test_schedules_start_at_one_and_decay_to_zero() -> None:
    assert [schedule_factor("constant", step, 10) for step in (0, 5, 10)] == [1, 1, 1]
    assert [schedule_factor("linear", step, 10) for step in (0, 5, 10)] == [1, 0.5, 0]
    assert [schedule_factor("cosine", step, 10) for step in (0, 5, 10)] == pytest.approx([1, 0.5, 0])


def test_warm_up_rises_to_one_and_then_the_schedule_runs() -> None:
    factors = [schedule_factor("linear", step, 10, warmup=0.4) for step in range(11)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[4:] == pytest.approx([1 - i / 6 for i in range(7)])
    assert [schedule_factor("cosine", step, 10, warmup=1.0) for step in (0, 9, 10)] == pytest.approx(
        [1 / 11, 10 / 11, 1]
    )
    for schedule in ("constant", "linear", "cosine"):
        assert [schedule_factor(schedule, step, 7) for step in range(8)] == [
            schedule_factor(schedule, step, 7, 0.0) for step in range(8)
        ]
        assert all(0 < schedule_factor(schedule, step, 9, 0.3) <= 1 for step in range(9))


@pytest.mark.parametrize("step", [0, 5])
def test_a_mistyped_schedule_is_refused_also_during_warm_up(step: int) -> None:
    with pytest.raises(ValueError, match=re.escape("schedule: 'cosin': did you mean 'cosine'? valid: constant")):
        schedule_factor("cosin", step, 10, warmup=0.3)


def test_the_sweep_file_has_the_same_schedules() -> None:
    assert get_args(ScheduleName) == SCHEDULES
