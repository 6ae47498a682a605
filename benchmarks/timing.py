"""Times that alternate in one process, so that what else the machine does falls on all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of each variant, round by round.

    Attributes:
        rounds: Variant -> seconds of each round.
    """

    rounds: dict[str, list[float]]

    def median(self, variant: str) -> float:
        """Median seconds."""
        return statistics.median(self.rounds[variant])

    def ratio(self, slow: str, fast: str) -> str:
        """How many times faster: median and range of the ratios within a round."""
        ratios = [a / b for a, b in zip(self.rounds[slow], self.rounds[fast], strict=True)]
        return f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"


def interleaved(variants: Mapping[str, Callable[[], object]], repeats: int) -> Times:
    """Run each once to warm up, then all in turn, ``repeats`` times."""
    for function in variants.values():
        function()
    rounds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, function in variants.items():
            rounds[name].append(seconds(function))
    return Times(rounds)


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def milliseconds(duration: float) -> str:
    """A duration as it stands in a table."""
    return f"{1000 * duration:,.0f} ms"
