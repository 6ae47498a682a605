"""Texts of the page that change with the convention which the reader selects.

The page holds each of them in every convention: the headline one as HTML, so that the page can be read without scripts,
and all of them as JSON, from which the page's script takes the selected one.
"""

import json
from collections.abc import Callable
from typing import Any

from nfa.conventions import CONVENTIONS, CORRELATIONS, HEADLINE, POWERS, Convention
from nfa.report.page.html import Safe, el
from nfa.report.page.svg import Live

DARK = 60  # percent of the colour from which on text is light; the same number stands in script.js
SHOWN_FIRST = CONVENTIONS.index(HEADLINE)


def live_text(live: Live, tag: str, text: Callable[[Convention], str], **attributes: Any) -> Safe:
    """Make an element whose text depends on the convention: ``text`` makes it for each of them."""
    texts = [text(convention) for convention in CONVENTIONS]
    return el(tag, texts[SHOWN_FIRST], data_live=_add(live, {"text": texts}), **attributes)


def live_heat(live: Live, cell: Callable[[Convention], tuple[str, float | None, str]]) -> Safe:
    """Make an entry of a heat map.

    Args:
        live: Collects the texts of all conventions.
        cell: Makes, for a convention, the text, the level of the colour from 0 to 1 (None where undefined), and the
            tooltip.
    """
    texts, levels, tips = zip(*(cell(convention) for convention in CONVENTIONS), strict=True)
    heat = [None if level is None else round(100 * min(max(level, 0), 1)) for level in levels]
    shown = heat[SHOWN_FIRST]
    return el(
        "td",
        texts[SHOWN_FIRST],
        cls="heat" + ("" if shown is None else " hot" if shown > DARK else " cool"),
        style=None if shown is None else f"--v:{shown}%",
        title=tips[SHOWN_FIRST],
        data_live=_add(live, {"text": texts, "heat": heat, "title": tips}),
    )


def _add(live: Live, entry: dict[str, Any]) -> int:
    live.texts.append(entry)
    return len(live.texts) - 1


def selector() -> Safe:
    """Make the selector of the convention; it is hidden until the script runs."""

    def choice(name: str, label: str, values: tuple[str, ...], chosen: str) -> Safe:
        options = [el("option", value, value=index, selected=value == chosen) for index, value in enumerate(values)]
        return el("label", el("span", label), el("select", options, id=f"choose-{name}", autocomplete="off"))

    return el(
        "form",
        choice("correlation", "correlation", CORRELATIONS, HEADLINE.correlation),
        choice("power", "power", POWERS, HEADLINE.power),
        cls="selector",
        id="selector",
        aria_label="Convention of the correlations",
        hidden=True,
    )


def live_data(live: Live) -> Safe:
    """Embed the texts and marks of all conventions as JSON; ``<`` is escaped, so that no text can end the element."""
    content = {"powers": len(POWERS), "texts": live.texts, "marks": live.marks}
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return el("script", Safe(text), type="application/json", id="live")
