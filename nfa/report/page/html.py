"""Builds HTML from elements, and escapes all text that is not HTML already.

>>> el("td", "a < b", cls="num", title=None)
'<td class="num">a &lt; b</td>'
"""

import html
from collections.abc import Iterable
from typing import Any


class Safe(str):
    """A string that is HTML already, and is not escaped again."""

    __slots__ = ()


def escape(text: object) -> Safe:
    """Escape a text; leave ``Safe`` as it is."""
    return text if isinstance(text, Safe) else Safe(html.escape(str(text)))


def el(tag: str, *children: object, **attributes: Any) -> Safe:
    """Make an element.

    Args:
        tag: Name of the element.
        children: Its content: text is escaped, ``Safe`` is not, iterables are joined, None is left out.
        attributes: Its attributes. ``cls`` stands for ``class``, a trailing ``_`` is dropped, other ``_`` become ``-``.
            None and False leave an attribute out, True writes its name alone.
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
    """Join children; escape text that is not ``Safe``, and leave None out."""
    flat = (
        escape(child) if isinstance(child, str) or not isinstance(child, Iterable) else join(child)
        for child in children
        if child is not None
    )
    return Safe(separator.join(flat))
