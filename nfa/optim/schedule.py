"""Learning-rate schedules, as a factor on the learning rate at each step."""

import math
from typing import Literal, get_args

from nfa.errors import nearest

ScheduleName = Literal["constant", "linear", "cosine"]
SCHEDULES = get_args(ScheduleName)


def schedule_factor(schedule: str, step: int, steps: int, warmup: float = 0.0) -> float:
    """Factor on the learning rate of the step from ``step`` to ``step + 1``, of ``steps`` in all.

    Args:
        schedule: ``constant``, or ``linear`` or ``cosine`` from 1 at the end of the warm-up to 0 at the end.
        step: Steps taken.
        steps: All steps, the warm-up among them.
        warmup: Share of the steps in which the factor grows linearly, before the schedule sets in: over w = warmup *
            steps, step t has (t + 1) / (w + 1), so that no step is without effect.

    Raises:
        ValueError: An unknown schedule.
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
