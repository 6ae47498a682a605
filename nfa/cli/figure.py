"""``nfa figure``: its arguments, and the call that draws."""

import argparse
import sys
from pathlib import Path

from nfa.cli.arguments import sweep_folder
from nfa.errors import UserError

FIGURE = "draw chosen quantities of an aggregated sweep, and print the numbers as a table"
SHOWN = ("uc_nfc", "haar_nfc", "w0_nfc", "c_nfc", "c_haar_nfc")


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``nfa figure``."""
    parser.epilog = (
        "--x, --colour and --panel take: step, layer, depth (from the output), quantity; data, model, optimizer, "
        "train, label (names of cells); a setting, e.g. model.init_scale; several of them, e.g. model.name+model.init; "
        "none. Without step, each run's last step is shown; without layer and depth, the mean over layers. Readout "
        "layers are left out. Intervals are 95% over seeds."
    )
    parser.add_argument("results", type=sweep_folder, help="folder of a sweep, e.g. results/default")
    parser.add_argument("--x", default="layer", help="the horizontal axis of each panel (default: layer)")
    parser.add_argument("--colour", default="quantity", help="one line for each (default: quantity)")
    parser.add_argument(
        "--panel", default="label", help="one panel for each (default: label, which is one for each cell)"
    )
    text = (
        "names as in alignment.parquet, with the convention if it is not cosine, power 1: uc_nfc:pearson:1/2; or "
        f"depth_power, train_loss, test_loss, train_accuracy, test_accuracy (default: {' '.join(SHOWN)})"
    )
    parser.add_argument("--show", nargs="+", default=list(SHOWN), metavar="QUANTITY", help=text)
    text = "show each run at the step where its training loss first reaches this value, not at its last step"
    parser.add_argument("--at-train-loss", type=float, metavar="LOSS", help=text)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the figure to write, .png or .svg")


def run_figure(options: argparse.Namespace) -> None:
    """Draw the figure and print its numbers as a table.

    Raises:
        UserError: An argument is wrong, or the results have no such quantity.
    """
    out: Path = options.out
    if out.suffix not in (".png", ".svg"):
        raise UserError(f"--out {out}: must end in .png or .svg")
    from nfa.report.figures.chart import save_chart
    from nfa.report.statistics.chart_data import Roles, make_chart
    from nfa.report.statistics.chart_points import Wanted, read_points
    from nfa.report.terminal.chart import chart_table
    from nfa.storage.paths import SweepPaths
    from nfa.storage.stale import warnings_about

    wanted = [Wanted.parse(text) for text in options.show]
    points = read_points(options.results, wanted, options.at_train_loss)
    chart = make_chart(points, Roles(options.x, options.colour, options.panel))
    save_chart(chart, out)
    print(chart_table(chart))
    for line in warnings_about(SweepPaths(options.results)):
        print(f"nfa: warning: {line}", file=sys.stderr)
