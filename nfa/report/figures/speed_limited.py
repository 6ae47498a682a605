"""Each layer's speed raised in turn: its alignment, and test loss, beside other optimizers at one training loss."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from nfa.conventions import Convention
from nfa.report.figures.ansatz import ending
from nfa.report.figures.panels import Mark, MarkValues, Panel, add_axes, draw_mark, lay_out_rows
from nfa.report.figures.style import MUTED, nfc_limits, optimizer_colour
from nfa.report.statistics.speed_limited import DIRECTIONS, WHOLE, Matched
from nfa.report.statistics.study import Study

WIDTH, ROW, GAP, AROUND = 460.0, 11.0, 10.0, 56.0  # points; AROUND: below and above the rows
# Quantity that is drawn -> its controls, and its label.
SIDES = {
    DIRECTIONS[0]: (DIRECTIONS[1:2], "directional factor"),
    "uc_nfc": (("haar_nfc", "w0_nfc"), "UC-NFC"),
}
CONTROL_STYLES: tuple[tuple[str, dict[str, object]], ...] = (
    ("whiskers", {"color": MUTED, "linewidth": 5, "alpha": 0.35}),
    ("dots", {"color": MUTED, "marker": "x"}),
)


def panels(study: Study, matched: Matched) -> list[Panel]:
    """Make one panel per data and model with cells that raise a layer: a group of rows per raised layer."""
    found = []
    for title, cells in study.groups.items():
        raised = [cell for cell in cells if cell in matched.raised]
        order = [layer.name for layer in study.collected.sweep.by_id[cells[0]].layers]
        raised.sort(key=lambda cell: order.index(matched.raised[cell]))
        if raised:
            found.append(_panel(study, matched, title, raised))
    return found


def legend(study: Study, matched: Matched) -> list[tuple[str, str]]:
    """Label the colours: of the optimizers compared, then of the cells that raise a layer."""
    drawn = [name for cell in matched.raised for name in matched.others(cell)] + list(matched.raised)
    optimizers = dict.fromkeys(str(study.row(cell)["optimizer"]) for cell in drawn)
    return [(label, optimizer_colour(study.optimizers[label])) for label in optimizers]


def _panel(study: Study, matched: Matched, title: str, raised: list[str]) -> Panel:
    others = matched.others(raised[0])
    rows = 1 + len(others)
    group = rows * ROW + GAP
    height = len(raised) * group + AROUND

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        boxes = ((66, 34, 274, 22), (204, 34, 136, 22), (346, 34, 18, 22))
        *sides, right = (add_axes(figure, (WIDTH, height), box) for box in boxes)
        tops, *_ = (lay_out_rows(axes, height - AROUND, len(raised), group) for axes in (*sides, right))
        names = [ending(matched.raised[cell]) for cell in raised]
        right.set_yticks([])
        right.set_xlabel("test loss")
        own = [top + GAP / 2 + ROW / 2 for top in tops]
        marks = []
        for axes, (quantity, (controls, label)) in zip(sides, SIDES.items(), strict=True):
            axes.set_xlim(*nfc_limits(study.lowest))
            axes.set_title(label, pad=5)
            axes.xaxis.set_major_locator(MultipleLocator(0.5))
            axes.set_xlabel("of the raised layer")
            axes.set_yticks([top + group / 2 for top in tops], names if axes is sides[0] else [])

            def put(kind: str, at: Sequence[float], values: MarkValues, tag: str, **style: object) -> None:
                marks.append(draw_mark(axes, f"{quantity}-{tag}", kind, "x", at, values, **style))  # noqa: B023

            for control, (kind, style) in zip(controls, CONTROL_STYLES, strict=False):
                put(kind, own, _values(matched, raised, others[0], control, ""), control, **style)
            for index, cell in enumerate(raised):
                colour, at = optimizer_colour(study.optimizer(cell)), own[index : index + 1]
                values = _values(matched, [cell], others[0], quantity, "")
                put("whiskers", at, values, f"own{index}-interval", color=colour)
                put("dots", at, values, f"own{index}-dots", color=colour, marker="D", markersize=5.5)
            for number, other in enumerate(others):
                at = [place + (1 + number) * ROW for place in own]
                colour = optimizer_colour(study.optimizer(other))
                values = _values(matched, raised, other, quantity, "other")
                put("whiskers", at, values, f"other{number}-interval", color=colour)
                put("dots", at, values, f"other{number}-dots", color=colour, marker="o")
        for index, cell in enumerate(raised):
            colour = optimizer_colour(study.optimizer(cell))
            _draw_losses(right, own[index : index + 1], _losses(matched, [cell], others[0], ""), colour, "D")
        for number, other in enumerate(others):
            at = [place + (1 + number) * ROW for place in own]
            colour = optimizer_colour(study.optimizer(other))
            _draw_losses(right, at, _losses(matched, raised, other, "other"), colour, "o")
        right.margins(x=0.15)
        right.xaxis.set_major_locator(MaxNLocator(3))
        return marks

    alt = (
        f"{title}: directional factor and UC-NFC of each raised layer, and test loss, beside the other optimizers at "
        "one training loss."
    )
    return Panel(title, title, alt, WIDTH, height, draw)


def _values(matched: Matched, cells: list[str], other: str, quantity: str, side: str) -> MarkValues:
    """Return the values of a quantity at each cell's raised layer: of the cell, or with ``side`` of the other."""

    def values(convention: Convention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place = None if quantity in DIRECTIONS else convention
        rows = [matched.row(cell, other, matched.raised[cell], quantity, place) for cell in cells]
        return _columns(rows, side)

    return values


def _losses(matched: Matched, cells: list[str], other: str, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the test losses of cells, or with ``side`` of the other cell at each cell's training loss."""
    return _columns([matched.row(cell, other, WHOLE, "test loss") for cell in cells], side)


def _columns(rows: list[dict[str, float] | None], side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and interval of rows, of the cell or with ``side`` of the other; NaN where a row is None."""
    names = ("other_mean", "other_low", "other_high") if side else ("mean", "ci_low", "ci_high")
    mean, low, high = (np.array([np.nan if row is None else row[name] for row in rows]) for name in names)
    return mean, low, high


def _draw_losses(axes: Axes, at: Sequence[float], values: tuple[np.ndarray, ...], colour: str, marker: str) -> None:
    mean, low, high = values
    axes.hlines(at, low, high, color=colour)
    axes.plot(mean, at, marker, color=colour)
