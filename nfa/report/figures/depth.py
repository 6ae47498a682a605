"""At which depth, and for which optimizer? UC-NFC and C-NFC at the last step by depth from the output."""

from matplotlib.figure import Figure, SubFigure

from nfa.report.figures.ansatz import at_step
from nfa.report.figures.curves import QUANTITIES
from nfa.report.figures.panels import Mark, Panel, add_pair, draw_mark, offset
from nfa.report.figures.style import depth_axis, nfc_limits, optimizer_colour
from nfa.report.statistics.labels import quantity_labels
from nfa.report.statistics.study import Study

SIZE = (370.0, 190.0)


def panels(study: Study) -> list[Panel]:
    """Make one panel per data and model, with a line per optimizer, all on the same axes."""
    limits = nfc_limits(study.lowest)
    return [_panel(study, title, cells, limits) for title, cells in study.groups.items()]


def _panel(study: Study, title: str, cells: list[str], limits: tuple[float, float]) -> Panel:
    layers = study.layers(cells[0])

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        marks = []
        pair = add_pair(figure, SIZE, quantity_labels(QUANTITIES).values(), limits, "layers from the output")
        for axes, quantity in zip(pair, QUANTITIES, strict=True):
            depth_axis(axes, study.deepest, margin=0.3)
            for order, cell in enumerate(cells):
                colour = optimizer_colour(study.optimizer(cell))
                at = [depth - offset(order, len(cells), 5) for _, _, depth in layers]
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
