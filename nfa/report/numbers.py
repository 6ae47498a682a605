"""How the report writes numbers: in the page, in figures and in the terminal."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

MINUS = "\N{MINUS SIGN}"

UNDEFINED = "n/a"


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with so many decimals; an undefined number is ``n/a``, never 0.

    >>> number(0.984), number(-0.001), number(float("nan"))
    ('0.98', '0.00', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


def significant(value: float | None, digits: int = 3) -> str:
    """Write a number with so many significant digits.

    >>> significant(0.0012345), significant(1234.5)
    ('0.00123', '1.23e+03')
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return f"{value:.{digits}g}".replace("-", MINUS)


def plus_minus(mean: float, half: float, digits: int = 2) -> str:
    """Write a mean and half the width of its interval; the mean alone if it has no interval.

    >>> plus_minus(0.984, 0.012), plus_minus(0.984, float("nan"))
    ('0.98 ± 0.01', '0.98')
    """
    shown = number(mean, digits)
    return f"{shown} ± {number(half, digits)}" if math.isfinite(half) and shown != UNDEFINED else shown


def interval(mean: float, low: float, high: float, digits: int = 2, bound: float = math.inf) -> str:
    """Write a mean and its interval, whose ends are cut at ±``bound``.

    >>> interval(0.9, 0.7, 1.1, bound=1)
    '0.90 [0.70, 1.00]'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return number(mean, digits)
    return f"{number(mean, digits)} [{number(max(low, -bound), digits)}, {number(min(high, bound), digits)}]"


def plural(count: int, noun: str) -> str:
    """Write a count with its noun.

    >>> plural(1, "cell"), plural(3000, "cell")
    ('1 cell', '3,000 cells')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def loss_with_interval(row: Mapping[str, Any]) -> str:
    """Write the test loss of a row of ``cells_summary`` ± half of its interval, with decimals to suit its size."""
    half = row["test_loss_ci_high"] - row["test_loss"]
    if not np.isfinite(half):
        return significant(row["test_loss"])
    decimals = int(np.clip(2 - np.floor(np.log10(abs(row["test_loss"]) or 1)), 0, 8))
    return plus_minus(row["test_loss"], half, decimals)
