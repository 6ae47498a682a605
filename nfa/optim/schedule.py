"""Learning-rate schedules: the factor on the learning rate at each step."""

import math
from typing import Literal, get_args

from nfa.errors import nearest

ScheduleName = Literal["constant", "linear", "cosine"]
SCHEDULES = get_args(ScheduleName)


def schedule_factor(schedule: str, step: int, steps: int, warmup: float = 0.0) -> float:
    """Return the factor on the learning rate of the step from ``step`` to ``step + 1``, of ``steps`` in all.

    Args:
        schedule: ``constant``, or ``linear`` or ``cosine`` from 1 at the end of the warm-up to 0 at the end.
        step: Number of steps taken so far.
        steps: Number of all steps, including the warm-up.
        warmup: Share of the steps in which the factor grows linearly, before the schedule begins. With w = warmup *
            steps, step t has the factor (t + 1) / (w + 1), so that no step is without effect.

    Raises:
        ValueError: An unknown schedule.

    Example:
        >>> [schedule_factor("linear", step, 4) for step in range(4)]
        [1.0, 0.75, 0.5, 0.25]
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: {schedule!r}: {nearest(schedule, SCHEDULES)}")
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    done, length = step - rising, max(steps - rising, 1)
    if schedule == "linear":
        return 1.0 - done / length
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done / length))
    return 1.0
