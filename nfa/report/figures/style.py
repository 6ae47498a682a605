"""Colours, fonts and axes that all figures share.

A figure is drawn in the light colours below. On the page each colour becomes a CSS variable, so that the figure follows
the reader's light or dark colour scheme.
"""

from contextlib import AbstractContextManager
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

INK, MUTED, GRID = "#22252a", "#6a6f78", "#dfe2e7"

# Okabe and Ito's palette, safe for colour-blind readers, in the order in which its colours are told apart best.
OPTIMIZER_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b38600", "#3fa3d9", "#8a5a44", "#5b5f97")
# By depth from the output: the readout grey, then from near the output (warm) to far from it (cold).
LAYER_COLOURS = ("#8b9099", "#c2571a", "#b3478f", "#6a51c7", "#2f6fc1", "#138a8a")

CSS_VARIABLES = (
    {INK: "--ink", MUTED: "--muted", GRID: "--grid"}
    | {colour: f"--o{index}" for index, colour in enumerate(OPTIMIZER_COLOURS)}
    | {colour: f"--l{index}" for index, colour in enumerate(LAYER_COLOURS)}
)
MARKERS = ("o", "s", "^", "D", "v", "P")

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nfa",
    "path.simplify": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def styled() -> AbstractContextManager[None]:
    """Return the context in which figures are drawn: all look alike, and equal data give equal bytes."""
    return cast(AbstractContextManager[None], mpl.rc_context(cast(Any, _SETTINGS)))


def optimizer_colour(index: int) -> str:
    """Return the colour of the sweep's optimizer number ``index``."""
    return OPTIMIZER_COLOURS[index % len(OPTIMIZER_COLOURS)]


def layer_shade(depth_from_output: int, deepest: int) -> int:
    """Return the number of a layer's colour: one for each depth if there are enough, else one for several depths.

    >>> [layer_shade(depth, deepest=10) for depth in range(11)]
    [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    """
    hidden = len(LAYER_COLOURS) - 1
    if depth_from_output == 0 or deepest <= hidden:
        return depth_from_output
    return 1 + (depth_from_output - 1) * hidden // deepest


def layer_colour(depth_from_output: int, deepest: int) -> str:
    """Return a layer's colour by its depth from the output, in a sweep whose deepest layer has depth ``deepest``."""
    return LAYER_COLOURS[layer_shade(depth_from_output, deepest)]


def step_axis(axes: Axes, last: int, linear: bool = False) -> None:
    """Make x an axis of optimizer steps from 0 to ``last``.

    The axis is linear from 0 to 1 and logarithmic beyond, so that it shows step 0; ``linear`` makes all of it linear.
    """
    axes.grid(False, axis="x")
    if linear:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_xlim(-0.04 * last, 1.04 * last)
        return
    axes.set_xscale("symlog", linthresh=1, linscale=0.35)
    decades = int(np.floor(np.log10(max(last, 1))))
    ticks = [0, *(10**power for power in range(0, decades + 1, 1 if decades < 5 else 2))]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:,}" if tick < 10**5 else f"1e{len(str(tick)) - 1}" for tick in ticks])
    axes.set_xlim(-0.12, max(last, 1) * 1.25)


def depth_axis(axes: Axes, deepest: int, margin: float) -> None:
    """Make x an axis of depths from the output, with the output at the right and room for ten labels.

    Args:
        axes: The axes.
        deepest: The largest depth.
        margin: Room beyond the first and the last depth.
    """
    axes.set_xlim(deepest + margin, -margin)
    depths = range(0, deepest + 1, deepest // 10 + 1)
    axes.set_xticks(list(depths), [f"{depth}" if depth else "out" for depth in depths])
    axes.grid(False, axis="x")


def nfc_limits(lowest: float) -> tuple[float, float]:
    """Return the limits of an axis of correlations: 0 to 1, or from further down if values are negative."""
    return (min(-0.02, np.floor(lowest * 5) / 5 - 0.02) if np.isfinite(lowest) else -0.02, 1.03)
