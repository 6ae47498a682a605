"""K in the left singular basis of a layer's weights, over training: is it diagonal, and does it follow the strengths?

With W = U S V^T, a row of the figure shows |U^T K U| of one layer at its first, middle and last checkpoint, and
kappa_i = u_i^T K u_i against a_i = s_i^2 at the same checkpoints, with the fitted line kappa ~ a^p. The power of the
AGOP that fits the NFM best is then 1/(1 + p).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, NullLocator

from nfa.report.figures.matrices import colours, grey
from nfa.report.figures.panels import Mark, Panel, add_axes
from nfa.report.figures.saving import write_figure
from nfa.report.figures.style import MUTED, OPTIMIZER_COLOURS, styled
from nfa.report.numbers import number
from nfa.report.statistics.left_bases import BasisMoment, LeftBasis
from nfa.report.statistics.matrix_albums import Album, Picture
from nfa.report.statistics.study import Study

SIZE = (300.0, 230.0)
FILE_ROWS = 24  # most layers in the figure's file
STRONGEST, POINTS = 12, 24  # directions drawn: so many of the strongest, and in all, the others evenly by rank
WEAKEST = 1e-3  # share of the largest strength below which a direction is not drawn
LINE = 1e-3  # the fitted line spans the directions whose weight is at least this share of the largest
COLOURS = (MUTED, OPTIMIZER_COLOURS[0], OPTIMIZER_COLOURS[1])  # first, middle, last checkpoint
STRENGTH, KAPPA = "strength aᵢ = sᵢ² (squared weight)", "κᵢ = uᵢᵀKuᵢ (squared gradient)"


def picture(moment: BasisMoment) -> Picture:
    """Return |U^T K U| as a picture: 0 is dark blue, its largest entry yellow."""
    return Picture("|UᵀKU|", moment.left_k, signed=False)


def caption(moment: BasisMoment) -> str:
    """Name the step, and give the directional factor, that by chance, and the reason why entries are grey."""
    value, chance = (number(moment.numbers[name]) for name in ("directional", "directional_haar"))
    undefined = grey([picture(moment)], "K is not finite")
    return f"step {moment.step:,}: directional {value}, by chance {chance}{undefined}"


def slope(moment: BasisMoment) -> str:
    """Write the slope p and the power of the AGOP that follows from it."""
    p = moment.numbers["spectrum_slope"]
    if not np.isfinite(p):
        return f"step {moment.step:,}: slope undefined"
    power = f"1/(1 + p) = {number(1 / (1 + p))}" if p > -1 else "p ≤ −1, so that no power fits"
    return f"step {moment.step:,}: p = {number(p)}, {power}"


def chosen(count: int) -> np.ndarray:
    """Choose the directions to draw, by rank.

    >>> chosen(3), len(chosen(1000))
    (array([0, 1, 2]), 24)
    """
    rest = np.linspace(STRONGEST, count - 1, POINTS - STRONGEST).round().astype(int)
    return np.arange(count) if count <= POINTS else np.concatenate([np.arange(STRONGEST), rest])


def panel(basis: LeftBasis) -> Panel:
    """Draw kappa against a for the page."""

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        draw_kappa(add_axes(figure, SIZE, (52, 36, 10, 46)), basis)
        return []

    title = f"{basis.layer}: weight of K on each direction"
    alt = f"{title} of W, against the strength of the direction. {'; '.join(map(slope, basis.moments))}."
    return Panel(title, title, alt, *SIZE, draw)


def draw_kappa(axes: Axes, basis: LeftBasis) -> None:
    """Draw kappa against a on logarithmic axes: a point per direction, with the area of its weight a^2, and lines."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for order, (moment, colour) in enumerate(zip(basis.moments, _colours(basis), strict=True)):
        at = (0.0, 1.03 + 0.065 * (len(basis.moments) - 1 - order))
        axes.text(*at, f"● {slope(moment)}", color=colour, fontsize=8, transform=axes.transAxes)
        used = moment.used
        if used.any():
            _draw_moment(axes, moment.strengths[used], moment.kappa[used], moment.numbers["spectrum_slope"], colour)
    axes.set_xlabel(STRENGTH)
    axes.set_ylabel(KAPPA)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=5))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())


def _colours(basis: LeftBasis) -> tuple[str, ...]:
    """Return a colour for each checkpoint; that of the last one is always the same."""
    return COLOURS[-len(basis.moments) :]


def _draw_moment(axes: Axes, strengths: np.ndarray, kappa: np.ndarray, p: float, colour: str) -> None:
    """Draw the points and the line of one checkpoint."""
    relative = strengths / strengths.max()
    drawn = chosen(int((relative >= WEAKEST).sum()))
    diameters = 2 + 2 * np.round(2.5 * relative[drawn])  # a few sizes, so that points share shapes in the page's SVG
    for diameter in np.unique(diameters):
        points = drawn[diameters == diameter]
        axes.plot(strengths[points], kappa[points], "o", color=colour, markersize=diameter, markeredgewidth=0)
    if np.isfinite(p):
        weights = relative**2 / (relative**2).sum()
        x, y = np.log(strengths), np.log(kappa)
        ends = np.array([x[relative**2 >= LINE].min(), x.max()])
        line = weights @ y + p * (ends - weights @ x)
        axes.plot(np.exp(ends), np.exp(line), color=colour, linewidth=1.4)


def save_left_bases(study: Study, albums: Sequence[Album], path: Path) -> None:
    """Write the first layers of interest as one figure, a row each."""
    rows = [(album, basis) for album in albums for basis in album.left_bases][:FILE_ROWS]
    with styled():
        figure = Figure(figsize=(12.4, 3.3 * len(rows)), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        for part, (album, basis) in zip(parts, rows, strict=True):
            part.suptitle(
                f"{study.row(album.cell)['label']} · {basis.layer} ({basis.role}), seed {album.seed}", fontsize=9
            )
            *heat, right = part.subplots(1, 4, width_ratios=(1, 1, 1, 1.45))
            for axes in heat[len(basis.moments) :]:
                axes.set_axis_off()
            for axes, moment in zip(heat, basis.moments, strict=False):
                _draw_heat(axes, moment)
            scale = part.colorbar(ScalarMappable(cmap="cividis"), ax=heat, fraction=0.02, pad=0.01)
            scale.set_label("|uᵢᵀKuⱼ| / largest", fontsize=8)
            draw_kappa(right, basis)
        write_figure(figure, path)


def _draw_heat(axes: Axes, moment: BasisMoment) -> None:
    """Draw |U^T K U| with the colours of the page."""
    size = len(moment.left_k)
    edges = (0.5, size + 0.5)
    axes.imshow(colours(picture(moment)), interpolation="nearest", extent=(*edges, *edges[::-1]))
    axes.set_title(caption(moment).replace(": ", "\n", 1), fontsize=8)
    ticks = sorted({1, size})
    axes.set_xticks(ticks, map(str, ticks))
    axes.set_yticks(ticks, map(str, ticks))
    axes.set_xlabel("direction j of W, by strength", fontsize=8)
    axes.set_ylabel("direction i of W", fontsize=8)
    axes.grid(False)
