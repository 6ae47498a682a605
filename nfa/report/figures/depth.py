"""For which optimizer and depth: UC-NFC and C-NFC at the last step by depth from the output, one line per optimizer."""

from matplotlib.figure import Figure, SubFigure

from nfa.report.figures.ansatz import at_step
from nfa.report.figures.curves import QUANTITIES
from nfa.report.figures.panels import Mark, Panel, add_axes, draw_mark
from nfa.report.figures.style import nfc_limits, optimizer_colour
from nfa.report.statistics.labels import quantity_labels
from nfa.report.statistics.study import Study

SIZE = (370.0, 190.0)


def tick_spacing(deepest: int) -> int:
    """Depths from one label to the next, so that labels do not touch: a panel has room for ten."""
    return deepest // 10 + 1


def panels(study: Study) -> list[Panel]:
    """One panel per data and model, all on the same axes; layers are aligned at the output."""
    limits = nfc_limits(study.lowest)
    return [_panel(study, title, cells, limits) for title, cells in study.groups.items()]


def _panel(study: Study, title: str, cells: list[str], limits: tuple[float, float]) -> Panel:
    layers = study.layers(cells[0])

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        marks = []
        for side, (quantity, name) in enumerate(quantity_labels(QUANTITIES).items()):
            axes = add_axes(figure, SIZE, ((30, 34, 187, 20), (200, 34, 17, 20))[side])
            axes.set_xlim(study.deepest + 0.3, -0.3)
            depths = range(0, study.deepest + 1, tick_spacing(study.deepest))
            axes.set_xticks(list(depths), [f"{depth}" if depth else "out" for depth in depths])
            axes.grid(False, axis="x")
            axes.set_ylim(*limits)
            axes.set_title(name, pad=5)
            axes.set_xlabel("layers from the output")
            if side:
                axes.tick_params(labelleft=False)
            for order, cell in enumerate(cells):
                colour = optimizer_colour(study.optimizer(cell))
                shift = (order - (len(cells) - 1) / 2) * 0.5 / max(len(cells), 5)
                at = [depth - shift for _, _, depth in layers]
                values = at_step(study, [(cell, index) for _, index, _ in layers], quantity, last=True)
                tag = f"{quantity}-{order}"
                marks += [
                    draw_mark(axes, f"{tag}-line", "line", "y", at, values, color=colour, linewidth=1, alpha=0.7),
                    draw_mark(axes, f"{tag}-interval", "whiskers", "y", at, values, color=colour, linewidth=1.6),
                    draw_mark(axes, f"{tag}-dots", "dots", "y", at, values, color=colour, marker="o"),
                ]
        return marks

    alt = f"{title}: UC-NFC and C-NFC at the last step by depth from the output; one line per optimizer, 95% intervals."
    return Panel(title, title, alt, *SIZE, draw)
