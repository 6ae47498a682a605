"""One measured number, and the names of the conventions under which it was measured."""

import math
from dataclasses import dataclass

from nfa.conventions import POWERS

RowKey = tuple[str | None, str | None]  # correlation and power of a row; None where a quantity has none


@dataclass(frozen=True)
class Value:
    """One number of the table.

    Attributes:
        value: The number; NaN where it is undefined.
        note: The limit that was taken, or the reason why the value is NaN; else empty.
        stderr: Standard error; 0 when the value is exact, NaN when the error is unknown.
    """

    value: float
    note: str = ""
    stderr: float = 0.0


Values = dict[RowKey, Value]


def undefined(reason: str) -> Value:
    """Make an undefined value: NaN, with the reason as its note."""
    return Value(math.nan, reason, math.nan)


def exponents(depth_from_output: int, chain_length: int | None) -> dict[str, float]:
    """Give the exponent of each power for one layer.

    The depth-matched power of layer l of a chain of L is 1/(L - l + 1): exact for deep linear networks trained from
    balanced initialisation (arXiv 2510.15563).

    Args:
        depth_from_output: L - l.
        chain_length: L, or None when the network is no chain of layers.

    Returns:
        Power name -> exponent; NaN for "depth" when the network is no chain.

    Example:
        >>> exponents(depth_from_output=3, chain_length=4)
        {'1': 1.0, '1/2': 0.5, 'depth': 0.25}
    """
    depth = math.nan if chain_length is None else 1.0 / (depth_from_output + 1)
    return dict(zip(POWERS, (1.0, 0.5, depth), strict=True))
