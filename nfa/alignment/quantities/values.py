"""One measured number, and the names of the conventions it was measured under."""

import math
from dataclasses import dataclass

CORRELATIONS = ("cosine", "pearson", "offdiagonal")
POWERS = ("1", "1/2", "depth")

Convention = tuple[str | None, str | None]  # correlation, power; None where a quantity has none


@dataclass(frozen=True)
class Value:
    """One number of the table.

    Attributes:
        value: The number; NaN where it is undefined.
        note: A limit that was taken, or why the value is NaN; else empty.
        stderr: Standard error; 0 when exact, NaN when unknown.
    """

    value: float
    note: str = ""
    stderr: float = 0.0


def undefined(reason: str) -> Value:
    """Make the value of something that is not defined."""
    return Value(math.nan, reason, math.nan)


def exponents(depth_from_output: int, chain_length: int | None) -> dict[str, float]:
    """Exponent of each power for one layer.

    The depth-matched power of layer l of a chain of L is 1/(L - l + 1): exact for deep linear networks trained from
    balanced initialisation (arXiv 2510.15563).

    Args:
        depth_from_output: L - l.
        chain_length: L, or None when the network is no chain of layers.

    Returns:
        Power name -> exponent; NaN for "depth" when the network is no chain.
    """
    depth = math.nan if chain_length is None else 1.0 / (depth_from_output + 1)
    return {"1": 1.0, "1/2": 0.5, "depth": depth}
