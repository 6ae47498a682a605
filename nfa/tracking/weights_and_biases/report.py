"""The W&B Report of a sweep: text with formulas, panels over its runs, the aggregated table.

``build_report`` lays out the report and talks to no server; ``save_report`` creates it on a server or updates it there.
To add a panel, write a function that returns it and name that function among the blocks of ``build_report``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import wandb
from wandb_workspaces.reports.v2 import interface as wr

from nfa.conventions import (
    ABOVE,
    ABOVE_IN_SD,
    CONTROLS,
    HEADLINE,
    HEADLINES,
    LEARNED_RULE,
    LOG_STEP,
    NOT_REACHED,
    layer_keys,
)
from nfa.report.numbers import plural
from nfa.report.statistics.collected import parameter_table
from nfa.report.statistics.labels import quantity_labels
from nfa.report.statistics.pooled_settings import Pooling
from nfa.sweep.cells import Sweep
from nfa.tracking.weights_and_biases.client import explained
from nfa.tracking.weights_and_biases.tracker import SUPERSEDED

WIDTH, HEIGHT = 12, 8  # of a panel, in units of the report's grid of 24 columns: two panels in a row
MAX_LAYERS = 12  # most layers with plots of their own; of deeper networks the first and last ones have them
MAX_ROWS = 60  # most rows of the table, best first; the table of the summary run has all
Panel = wr.LinePlot | wr.ScatterPlot | wr.BarPlot | wr.ParallelCoordinatesPlot | wr.ParameterImportancePlot
GROUP = "config.cell"  # runs of one cell differ only in their seed
FINISHED = "SummaryMetric('diverged') == False"
LEARNED = "SummaryMetric('learned') == True"  # as in the local report: nfa.conventions.has_learned


def build_report(sweep: Sweep, cells: pd.DataFrame, entity: str, project: str) -> wr.Report:
    """Lay out a sweep's report.

    Args:
        sweep: The sweep.
        cells: The aggregated table ``cells_summary`` with means over the runs that learned, as the panels have, see
            ``nfa.report.statistics.runs.over_learned_runs``.
        entity: Account or team.
        project: Project that holds the sweep's runs.

    Returns:
        The report, not saved. Panels are in the headline convention; curves are means over seeds. Runs that diverged
        are in no panel, and runs that did not learn only in those of the training curves.
    """
    columns = _columns(sweep)
    groupings = _groupings(sweep, columns)
    runs = _Runs(sweep, entity, project)
    cells_and_seeds = f"{plural(len(sweep.cells), 'cell')} x {plural(len(sweep.seeds), 'seed')}"
    return wr.Report(
        entity=entity,
        project=project,
        title=report_title(sweep),
        description=f"{cells_and_seeds}, made by nfa",
        width="fluid",
        blocks=[
            wr.TableOfContents(),
            wr.H1("What was swept"),
            wr.P(f"{cells_and_seeds}. Curves are means over seeds."),
            *_swept_list(sweep.swept),
            wr.H1("What is measured"),
            *_definitions(),
            wr.H1("Training"),
            *_left_out(cells),
            runs.grid(
                [GROUP],
                [_curve(["train/loss"], "train/step"), _curve(["test/loss"], "train/step")],
                "means over seeds of runs that finished",
                FINISHED,
            ),
            wr.H1("Alignment over training"),
            *_alignment(runs, sweep, groupings),
            wr.H1("Alignment and features"),
            *_fitted(sweep),
            runs.grid([], _scatter(), "each run that learned"),
            *_final_values(runs, sweep, groupings),
            wr.H1("The axes together"),
            runs.grid([], _axes(columns), "each run that learned"),
            wr.H1("All cells"),
            wr.P(
                "Means and standard deviations over seeds, of the runs that learned, as in the bars. The table "
                "cells_summary of the summary run averages over all runs that finished."
            ),
            wr.MarkdownBlock(cells_markdown(cells)),
        ],
    )


def save_report(report: wr.Report, known: str | None) -> tuple[str, str]:
    """Update the report with the id ``known``, else the report of the same title in its project; else create it.

    Args:
        report: The report, as ``build_report`` lays it out.
        known: Id of the report that was saved for this sweep before; None if there is none.

    Returns:
        Id and address of the report.

    Raises:
        TrackerError: The report could not be saved.
        TrackerUnavailableError: The server does not answer.
        UserError: The API key or the account is wrong.
    """
    with explained():
        titles = _titles(report)
        same = [identifier for identifier, title in titles.items() if title == report.title]
        created = known not in titles and not same
        report.id = known if known in titles else next(iter(same), "")
        report.save()
        identifier, address = str(report.id), str(report.url)
        if created:
            # The client asks again if an answer is lost, and then the server makes a second report: delete it.
            for other, title in _titles(report).items():
                if title == report.title and other not in titles and other != identifier:
                    report.id = other
                    report.delete()
        return identifier, address


def _titles(report: wr.Report) -> dict[str, str]:
    """Return the titles of all reports in the project, by id."""
    found = wandb.Api().reports(f"{report.entity}/{report.project}", per_page=100)
    return {each.id: str(each.display_name) for each in found}


def report_title(sweep: Sweep) -> str:
    """Return the title by which a sweep's report is found again."""
    return f"{sweep.name}: neural feature ansatz"[:128]


def cells_markdown(cells: pd.DataFrame) -> str:
    """Format the aggregated table as Markdown: means and standard deviations over seeds, lowest test loss first.

    The last column counts the runs that learned.
    A quantity stands beside its control, in brackets, and beside its distance above the control, also in standard
    deviations of the control (sd).
    """
    aligned = [head for label in _labels().values() for head in (f"{label} (control)", "above control")]
    head = ["cell", "seeds", "test loss", "test accuracy", *aligned, "best probe", "learned"]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    chosen = cells.sort_values("test_loss", na_position="last", kind="stable").head(MAX_ROWS)
    for row in chosen.to_dict("records"):
        values = [_of(row, "test_loss"), _of(row, "test_accuracy")]
        values += [text for quantity in HEADLINES for text in _beside_control(row, quantity)]
        values.append(_of(row, "best_probe"))
        label = str(row["label"]).replace("|", "\\|")
        lines.append(f"| {label} | {row['n_seeds']} | {' | '.join(values)} | {row['n_learned']} |")
    left_out = len(cells) - len(chosen)
    return "\n".join(lines) + (f"\n\n{left_out} more cells are in the summary run's table." if left_out else "")


def _labels() -> dict[str, str]:
    """Return the short labels of the headline quantities, from their registry: name -> label."""
    return quantity_labels(HEADLINES)


def _of(row: Mapping[Any, Any], name: str) -> str:
    """Write a mean and standard deviation of a row of ``cells_summary``."""
    return _mean_sd(row[name], row[f"{name}_sd"])


def _beside_control(row: Mapping[Any, Any], quantity: str) -> tuple[str, str]:
    """Write a quantity with its control, and its distance above the control, of a row of ``cells_summary``."""
    control, distance = (
        _mean_sd(row[name], float("nan")) for name in (CONTROLS[quantity].mean, f"{quantity}_{ABOVE_IN_SD}")
    )
    return f"{_of(row, quantity)} ({control})", f"{_of(row, f'{quantity}_{ABOVE}')} ({distance} sd)"


def _mean_sd(mean: float, sd: float) -> str:
    if pd.isna(mean):
        return "n/a"
    return f"{mean:.3g}" if pd.isna(sd) else f"{mean:.3g} ± {sd:.2g}"


class _Runs:
    """Make grids of panels over the runs of a sweep."""

    def __init__(self, sweep: Sweep, entity: str, project: str) -> None:
        self.entity, self.project = entity, project
        self.filters = f"Config('sweep') == '{sweep.name}' and JobType == 'train' and Tags not in ['{SUPERSEDED}']"

    def grid(
        self,
        groupby: list[str],
        panels: Sequence[Panel],
        name: str = "means over seeds of runs that learned",
        condition: str = LEARNED,
    ) -> wr.PanelGrid:
        """Lay out panels, two in a row, over the runs that fulfil a condition, grouped by the settings ``groupby``."""
        for index, panel in enumerate(panels):
            panel.layout = wr.Layout(x=index % 2 * WIDTH, y=index // 2 * HEIGHT, w=WIDTH, h=HEIGHT)
        filters = f"{self.filters} and {condition}"
        runs = wr.Runset(entity=self.entity, project=self.project, name=name, filters=filters, groupby=groupby)
        return wr.PanelGrid(runsets=[runs], panels=list(panels))


def _columns(sweep: Sweep) -> list[str]:
    """Return the settings that vary and are columns of the runs on the server, so that runs can be grouped by them.

    A setting that is a mapping is none: W&B makes a column of each of its parts, as ``optimizer.speeds.first``.
    """
    points = {point for cell in sweep.cells for point in cell.points}
    mappings = {
        f"{point.axis}.{key}" for point in points for key, value in point.parameters.items() if isinstance(value, dict)
    }
    return [name for name in sweep.swept if name not in mappings]


def _swept_list(swept: dict[str, list[Any]]) -> list[wr.UnorderedList | wr.P]:
    if not swept:
        return [wr.P("No setting varies.")]
    return [wr.UnorderedList(items=[f"{name}: {', '.join(map(str, values))}" for name, values in swept.items()])]


def _left_out(cells: pd.DataFrame) -> list[wr.P]:
    """State which panels leave out the runs that diverged or did not learn, if there are any."""
    runs, learned, diverged = (int(cells[count].sum()) for count in ("n_seeds", "n_learned", "n_diverged"))
    text = (
        f"Of {runs} runs, {diverged} diverged and {runs - learned - diverged} finished but did not learn. A run "
        f"learned if it finished and {LEARNED_RULE}. Runs that diverged are in no panel, and runs that did not learn "
        "are only in the two panels below. Each of these runs has all its curves in the project."
    )
    unreached = int(cells["n_not_reached"].sum())
    if unreached:
        text += (
            f" {unreached} of the {runs} runs {NOT_REACHED} the training loss or accuracy of train.until in the steps "
            "given; their summary says reached: false."
        )
    return [wr.P(text)] if learned < runs or unreached else []


def _definitions() -> list[wr.P | wr.LatexBlock]:
    """Define the quantities in text and formulas, with the symbols of the documentation."""
    return [
        wr.P(
            "A layer maps its input x to the pre-activation h = W x. J is the derivative of the network's outputs with "
            "respect to h (the pre-activation tangent features). The neural feature matrix F, the covariance K of the "
            "tangent features and the average gradient outer product G are"
        ),
        wr.LatexBlock(r"F = W^\top W, \qquad K = \frac{1}{n} \sum_i J_i^\top J_i, \qquad G = W^\top K W."),
        wr.P(
            "The neural feature ansatz says that F and G are aligned. UC-NFC measures this for the weights, C-NFC for "
            "the change of the weights since initialisation:"
        ),
        wr.LatexBlock(
            r"\text{UC-NFC} = \rho\big(W^\top W,\; W^\top K W\big), \qquad "
            r"\text{C-NFC} = \rho\big(\bar W^\top \bar W,\; \bar W^\top K \bar W\big), \qquad \bar W = W - W_0,"
        ),
        wr.P(
            f"where \u03c1 is the {HEADLINE.correlation} correlation and the power of G is {HEADLINE.power}. The "
            "tables of each run have all other correlations and powers. With W = USV\u1d40 and M = SU\u1d40KUS, the "
            "directional factor of UC-NFC is |diag M| / |M|: it is 1 exactly where K is diagonal in the left singular "
            "basis of W. Each quantity stands beside its control, the same number with K turned at random: haar_nfc, "
            "c_haar_nfc, directional_haar. Above control is the difference, also in standard deviations of the "
            "control over rotations. A mean over layers leaves out the readout, whose values are 1 by definition."
        ),
    ]


def _curve(
    metrics: Sequence[str], step: str, groupby: str = "cell", title: str | None = None, title_x: str | None = None
) -> wr.LinePlot:
    """Plot metrics over steps: per group of runs a line (mean) with a band (one standard deviation)."""
    return wr.LinePlot(
        title=title or metrics[0],
        x=step,
        title_x=title_x,
        y=[*metrics],
        groupby=wr.Config(groupby),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=100,
    )


def _alignment(runs: _Runs, sweep: Sweep, groupings: Mapping[str, str]) -> list[wr.H2 | wr.P | wr.PanelGrid]:
    """Plot means over layers, grouped by each setting that varies, and then each hidden layer; with their controls."""
    blocks: list[wr.H2 | wr.P | wr.PanelGrid] = []
    for by, heading in groupings.items():
        panels = [
            _with_control(quantity, "mean", by, f"{label}, mean over hidden layers")
            for quantity, label in _labels().items()
        ]
        grid = runs.grid([f"config.{by}"], panels, _run_set(sweep, by))
        blocks += [wr.H2(f"By {heading}"), *_averaged(sweep, by), grid]
    layers = _hidden_layers(sweep)
    if len(layers) > MAX_LAYERS:
        layers = [*layers[: MAX_LAYERS // 2], *layers[-MAX_LAYERS // 2 :]]
    panels = [
        _with_control(quantity, layer, "cell", f"{label}, layer {layer}")
        for layer in layers
        for quantity, label in _labels().items()
    ]
    return [*blocks, wr.H2("Layer by layer"), *([runs.grid([GROUP], panels)] if panels else [])]


def _hidden_layers(sweep: Sweep) -> list[str]:
    """Name the hidden layers of the deepest cell as metrics do: by number, and heads by layer and head."""
    layers = max((cell.layers for cell in sweep.cells), key=lambda layers: sum(not layer.readout for layer in layers))
    readouts = {layer.name for layer in layers if layer.readout}
    names = layer_keys({layer.name: index for index, layer in enumerate(layers)}, readouts)
    keys: list[str] = []
    for layer in layers:
        cut = sweep.measure.heads and layer.heads > 1
        if not layer.readout:
            keys += [f"{layer.name}.{head}" for head in range(layer.heads)] if cut else [names[layer.name]]
    return keys


def _with_control(quantity: str, layer: str, by: str, title: str) -> wr.LinePlot:
    """Plot a quantity and its control over checkpoints."""
    metrics = [f"alignment/{name}/{layer}" for name in (quantity, CONTROLS[quantity].mean)]
    return _curve(metrics, f"alignment/{LOG_STEP}", by, f"{title}, and its control", "log10(step + 1)")


def _pooled(sweep: Sweep, by: str) -> list[str]:
    """Return the settings that vary within any group of cells when cells are grouped by the setting ``by``."""
    parameters = parameter_table(sweep)
    pooling = Pooling(parameters)
    groups = [part["cell"] for _, part in parameters.groupby(by, sort=False, dropna=False)]
    return list(dict.fromkeys(name for cells in groups for name in pooling.settings(cells)))


def _run_set(sweep: Sweep, by: str) -> str:
    """Name a set of runs, which is also its legend, by all settings that its means average over."""
    return f"means over {', '.join(['seeds', *_pooled(sweep, by)])} of runs that learned"


def _averaged(sweep: Sweep, by: str) -> list[wr.P]:
    """State over which settings, if any, the means of a group average."""
    names = _pooled(sweep, by)
    text = f"A line or bar is the mean over seeds and over all cells of one {by}: these differ in {', '.join(names)}."
    return [wr.P(text)] if names else []


def _fitted(sweep: Sweep) -> list[wr.P]:
    """State over which settings, if any, the lines in the scatter plots are fitted."""
    names = Pooling(parameter_table(sweep)).names(cell.id for cell in sweep.cells)
    text = f"A line is fitted to the runs of all cells: these differ in {names}."
    return [wr.P(text)] if names else []


def _scatter() -> list[wr.ScatterPlot]:
    """Plot probe score and test loss against alignment at the end of training, one dot per run."""
    names = ("final/uc_nfc/mean", f"final/directional/{ABOVE}")
    pairs = [(name, score) for name in names for score in ("best_probe/score", "final/test_loss")]
    return [
        wr.ScatterPlot(
            title=f"{y} against {x}", x=wr.SummaryMetric(x), y=wr.SummaryMetric(y), log_y="loss" in y, regression=True
        )
        for x, y in pairs
    ]


def _final_values(runs: _Runs, sweep: Sweep, groupings: Mapping[str, str]) -> list[wr.H1 | wr.P | wr.PanelGrid]:
    """Plot final values for each setting that varies."""
    blocks: list[wr.H1 | wr.P | wr.PanelGrid] = []
    for by, heading in groupings.items():
        grid = runs.grid([f"config.{by}"], _bars(by), _run_set(sweep, by))
        blocks += [wr.H1(f"Final values by {heading}"), *_averaged(sweep, by), grid]
    return blocks


def _groupings(sweep: Sweep, columns: Sequence[str]) -> dict[str, str]:
    """Choose the settings by which cells are grouped, one of those that part the cells alike, names of entries first.

    Returns:
        Setting -> heading, which also names the settings that vary with it: ``data.name (with data.n_train)``.
    """
    table = parameter_table(sweep)
    alike: dict[tuple[int, ...], list[str]] = {}
    for name in sorted(columns, key=lambda column: not column.endswith(".name")):
        alike.setdefault(tuple(pd.factorize(table[name].map(repr))[0].tolist()), []).append(name)
    return {first: f"{first} (with {', '.join(others)})" if others else first for first, *others in alike.values()}


def _bars(by: str) -> list[wr.BarPlot]:
    """Plot final values by a setting: mean over its runs, with a whisker of one standard deviation."""
    aligned = [f"final/{each}/{end}" for each in HEADLINES for end in ("mean", ABOVE)]
    return [
        wr.BarPlot(
            title=metric,
            metrics=[metric],
            groupby=wr.Config(by),
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        )
        for metric in (*aligned, "final/test_loss", "best_probe/score")
    ]


def _axes(settings: Iterable[str]) -> list[wr.ParallelCoordinatesPlot | wr.ParameterImportancePlot]:
    """Plot settings beside outcomes, and the importance of each setting for an outcome."""
    aligned = ("final/uc_nfc/mean", f"final/directional/{ABOVE}")
    outcomes = [wr.SummaryMetric(name) for name in (*aligned, "best_probe/score", "final/test_loss")]
    columns: list[wr.Config | wr.SummaryMetric] = [*(wr.Config(name) for name in settings), *outcomes]
    return [
        wr.ParallelCoordinatesPlot(
            title="Settings and outcomes", columns=[wr.ParallelCoordinatesPlotColumn(metric) for metric in columns]
        ),
        *(wr.ParameterImportancePlot(with_respect_to=name) for name in (*aligned, "final/test_loss")),
    ]
