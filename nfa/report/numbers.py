"""Numbers as the report writes them, in the page, in figures and in the terminal."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

MINUS = "\N{MINUS SIGN}"

UNDEFINED = "n/a"


def number(value: float | None, digits: int = 2) -> str:
    """Show a number with so many decimals; undefined is ``n/a``, never 0."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


def significant(value: float | None, digits: int = 3) -> str:
    """Show a number with so many significant digits."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return f"{value:.{digits}g}".replace("-", MINUS)


def plus_minus(mean: float, half: float, digits: int = 2) -> str:
    """Show a mean and half its interval; the mean alone where there is no interval."""
    shown = number(mean, digits)
    return f"{shown} ± {number(half, digits)}" if math.isfinite(half) and shown != UNDEFINED else shown


def interval(mean: float, low: float, high: float, digits: int = 2, bound: float = math.inf) -> str:
    """Show a mean and its interval, cut at ±``bound``."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return number(mean, digits)
    return f"{number(mean, digits)} [{number(max(low, -bound), digits)}, {number(min(high, bound), digits)}]"


def plural(count: int, noun: str) -> str:
    """Count things: ``1 cell``, ``3 cells``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def loss_with_interval(row: Mapping[str, Any]) -> str:
    """Show the test loss with as many decimals as its size needs."""
    half = row["test_loss_ci_high"] - row["test_loss"]
    if not np.isfinite(half):
        return significant(row["test_loss"])
    decimals = int(np.clip(2 - np.floor(np.log10(abs(row["test_loss"]) or 1)), 0, 8))
    return plus_minus(row["test_loss"], half, decimals)
