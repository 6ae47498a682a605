"""HTML built from elements, so that text from data can only ever arrive escaped.

>>> el("td", "a < b", cls="num", title=None)
'<td class="num">a &lt; b</td>'
"""

import html
from collections.abc import Iterable
from typing import Any


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
