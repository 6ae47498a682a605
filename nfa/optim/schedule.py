"""Learning-rate schedules, as a factor on the learning rate at each step."""

import math


def schedule_factor(schedule: str, step: int, steps: int) -> float:
    """Factor on the learning rate of the step from ``step`` to ``step + 1``, of ``steps`` in all: 1 at the start."""
    if schedule == "linear":
        return 1.0 - step / steps
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * step / steps))
    return 1.0
