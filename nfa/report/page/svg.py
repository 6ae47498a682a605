"""Draws panels as SVG elements of the report page, and describes their marks for the page's script.

Matplotlib draws a panel once, in the headline convention. For each mark (a line, a band, dots) that depends on the
convention, the page also gets the values in all conventions and the linear map from values to coordinates, from which
the script draws the mark anew.
"""

import io
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nfa.conventions import CONVENTIONS, Convention
from nfa.report.figures.panels import NO_METADATA, POINTS_PER_INCH, Mark, Panel
from nfa.report.figures.style import CSS_VARIABLES, styled
from nfa.report.page.html import Safe, escape


@dataclass
class Live:
    """Texts and marks in all conventions, collected while the page is made; the page's script reads them.

    Attributes:
        marks: Places and values of the marks in figures.
        texts: Texts, tooltips and colour levels of elements.
    """

    marks: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)


def render(panel: Panel, prefix: str, live: Live) -> Safe:
    """Draw a panel for the page, and add the marks that the selector moves to ``live``."""
    with styled():
        figure = Figure(figsize=(panel.width / POINTS_PER_INCH, panel.height / POINTS_PER_INCH), dpi=POINTS_PER_INCH)
        FigureCanvasAgg(figure)
        marks = panel.draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata=NO_METADATA)
    live.marks += [_describe(mark, prefix, panel.height) for mark in marks]
    return _for_page(stream.getvalue(), prefix, panel)


def _for_page(svg: str, prefix: str, panel: Panel) -> Safe:
    """Strip the file's header, make ids unique on the page, and replace colours by CSS variables."""
    body = svg[svg.index("<svg") : svg.rindex("</svg>")]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"\s*\n\s*", " ", body)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = body.replace('xlink:href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    body = re.sub("#[0-9a-f]{6}", lambda match: _variable(match.group()), body)
    size = f'viewBox="0 0 {panel.width:g} {panel.height:g}" style="max-width:{panel.width * 1.25:g}px"'
    return Safe(f'<svg {size} role="img" aria-label="{escape(panel.alt)}">{body}</svg>')


def _variable(colour: str) -> str:
    """Replace a colour of the palette by its CSS variable, so that it follows light and dark mode."""
    return f"var({CSS_VARIABLES[colour]})" if colour in CSS_VARIABLES else colour


def _describe(mark: Mark, prefix: str, height: float) -> dict[str, Any]:
    """Describe a mark in the SVG: its positions across, its values, and the linear map from values to coordinates."""
    transform = mark.axes.transData
    if mark.along == "y":
        across = transform.transform([(place, 0.0) for place in mark.at])[:, 0]
        start, end = (height - transform.transform([(1.0, value)])[0, 1] for value in (0.0, 1.0))
    else:
        across = height - transform.transform([(0.0, place) for place in mark.at])[:, 1]
        start, end = (transform.transform([(value, 0.0)])[0, 0] for value in (0.0, 1.0))
    return {
        "id": f"{prefix}-{mark.name}",
        "kind": mark.kind,
        "along": mark.along,
        "at": _rounded(across, 1),
        "map": _rounded(np.array([start, end - start]), 2),
        "values": [_needed(mark, convention) for convention in CONVENTIONS],
    }


def _needed(mark: Mark, convention: Convention) -> list[list[float | None]]:
    """Return the values that a kind of mark shows: the means, or the lower and the upper ends."""
    mean, low, high = mark.values(convention)
    return [_rounded(part, 3) for part in ((mean,) if mark.kind in ("line", "dots") else (low, high))]


def _rounded(values: np.ndarray, digits: int) -> list[float | None]:
    """Round values for JSON; None stands for values that are not finite."""
    return [round(float(value), digits) + 0.0 if np.isfinite(value) else None for value in values]
