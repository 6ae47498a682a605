"""Studies of made-up results, and panels drawn as the page draws them: for the tests of the report."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nfa.report.figures.panels import Panel
from nfa.report.figures.style import styled
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from nfa.stages.aggregate import collect
from nfa.sweep.cells import Sweep
from tests.fake_results import write


def study_of(sweep: Sweep, folder: Path) -> Study:
    """Write made-up results of a sweep into a folder, and tabulate them."""
    paths = write(sweep, folder)
    collected = collect(sweep, paths)
    return Study(collected, make_tables(collected), paths)


def drawn(panel: Panel) -> list[Axes]:
    """Draw a panel as the page does, one unit a point."""
    with styled():
        figure = Figure(figsize=(panel.width / 72, panel.height / 72), dpi=72)
        FigureCanvasAgg(figure)
        panel.draw(figure)
        figure.draw_without_rendering()
    return figure.axes
