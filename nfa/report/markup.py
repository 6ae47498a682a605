"""HTML built from elements, so that text from data can only ever arrive escaped.

>>> el("td", "a < b", cls="num", title=None)
'<td class="num">a &lt; b</td>'
"""

import html
import math
from collections.abc import Iterable
from typing import Any

MINUS = "\N{MINUS SIGN}"
UNDEFINED = "n/a"


class Safe(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: object) -> Safe:
    """Turn anything but ``Safe`` into escaped text."""
    return text if isinstance(text, Safe) else Safe(html.escape(str(text)))


def el(tag: str, *children: object, **attributes: Any) -> Safe:
    """Make an element; children are escaped unless ``Safe``, iterables of children are joined.

    Attribute names: ``cls`` is ``class``, a trailing ``_`` is dropped, other ``_`` become ``-``; None and False leave
    an attribute out.
    """
    parts = [f"<{tag}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        name = "class" if key == "cls" else key.rstrip("_").replace("_", "-")
        parts.append(f" {name}" if value is True else f' {name}="{html.escape(str(value))}"')
    parts.append(">")
    if tag in ("img", "meta", "br", "input", "col"):
        return Safe("".join(parts))
    return Safe("".join(parts) + join(children) + f"</{tag}>")


def join(children: Iterable[object], separator: str = "") -> Safe:
    """Join children, escaping what is not ``Safe``."""
    flat = (
        escape(child) if isinstance(child, str) or not isinstance(child, Iterable) else join(child)
        for child in children
        if child is not None
    )
    return Safe(separator.join(flat))


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
