"""The panels of the W&B Report show the numbers of the local tables, also where runs diverged or did not learn.

The panels' averages are computed from the published runs as W&B does: the runs that a filter lets through, in groups.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from wandb_workspaces import expr
from wandb_workspaces.reports.v2 import interface as wr

from nfa.report.statistics.runs import MEASURES, over_learned_runs
from nfa.stages.aggregate import aggregate
from nfa.stages.publish import publish
from nfa.storage.columns import HISTORY
from nfa.storage.tables import read_stamp, read_table, write_table
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from nfa.tracking.weights_and_biases.report import build_report
from tests import fake_results
from tests.tracking.reading import DOCUMENT, Logged, run_folders
from tests.tracking.weights_and_biases.test_report import grids, names

COLUMNS = {"final/test_loss": "test_loss", "best_probe/score": "best_probe"}  # of the local table `runs`


class Mixed(NamedTuple):
    """A sweep of one task and three optimizers: both runs of sgd diverged, and one of adam did not learn.

    Attributes:
        sweep: The sweep.
        local: Its tables by name.
        runs: Its published runs.
    """

    sweep: Sweep
    local: dict[str, pd.DataFrame]
    runs: list[Logged]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    """The sweep, published offline; do not change it."""
    optimizers = [{"name": "sgd", "lr": 0.5}, {"name": "adam", "lr": 0.01}, {"name": "muon", "lr": 0.1}]
    document: dict[str, Any] = {**DOCUMENT, "optimizer": optimizers}
    sweep = parse({**document, "data": document["data"][:1], "model": document["model"][:1]}, "test")
    results = tmp_path_factory.mktemp("diverged")
    paths = fake_results.write(sweep, results)
    for cell in sweep.cells:
        here = paths.cell(cell.id)
        name = cell.parameters()["optimizer"]["name"]
        history = read_table(here.history)
        last = history["step"].max()
        if name == "sgd":
            document = json.loads(here.cell.read_text())
            for seed in sweep.seeds:
                document["runs"][str(seed)] |= {"status": "diverged", "last_step": int(last)}
            fake_results.rewrite_cell(here, document)
            history.loc[(history["metric"] == "loss") & (history["step"] == last), "value"] = 6.5e71
        if name == "adam":
            history.loc[(history["metric"] == "loss") & (history["seed"] == 3), "value"] = 0.09
        write_table(here.history, history, HISTORY, read_stamp(here.history))
    aggregate(sweep, results)
    publish(sweep, results, runs_only=True)
    tables = ("runs", "cells_summary", "history_summary")
    local = {name: pd.read_parquet(paths.tables / f"{name}.parquet") for name in tables}
    return Mixed(sweep, local, [Logged(folder) for folder in run_folders(paths.wandb)])


def setting(run: Logged, name: str) -> Any:
    """Value of a setting, such as ``optimizer.name``."""
    value: Any = run.config
    for part in name.removeprefix("config.").split("."):
        value = value[part]
    return value


def let_through(runs: list[Logged], filters: str) -> list[Logged]:
    """Runs for which every condition of a filter holds; a run without the value fails its condition."""

    def holds(run: Logged, condition: dict[str, Any]) -> bool:
        section, name, value = condition["key"]["section"], condition["key"]["name"], condition["value"]
        about: dict[str, Any] = {"jobType": run.run["job_type"], "tags": run.run["tags"]}
        found: Any = {"config": run.config, "summary": run.summary, "run": about}[section].get(name)
        return not set(value) & set(found) if condition["op"] == "NIN" else found == value

    conditions = expr.filters_tree_to_v2(expr.expr_to_filters(filters))["filters"]
    return [run for run in runs if all(holds(run, each) for each in conditions)]


def averaged(runs: list[Logged], metric: str, by: str) -> dict[str, float]:
    """Mean of a summary value per group of runs; runs that lack it do not count."""
    rows = [(setting(run, by), run.summary[metric]) for run in runs if metric in run.summary]
    means = pd.DataFrame(rows, columns=["group", "value"]).groupby("group")["value"].mean()
    return {str(group): float(mean) for group, mean in means.items()}


def column(metric: str) -> str:
    """Column of the local table of runs that holds a summary value."""
    return COLUMNS.get(metric) or metric.removeprefix("final/").removesuffix("/mean").replace("/", "_")


def test_bars_are_the_means_of_the_local_table(mixed: Mixed) -> None:
    sweep, local, runs = mixed
    learned = local["runs"][local["runs"]["learned"]]
    assert set(zip(learned["optimizer.name"], learned["seed"], strict=True)) == {
        ("adam", 0),
        ("muon", 0),
        ("muon", 3),
    }
    shown_grids = grids(build_report(sweep, local["cells_summary"], "lab", "nfa-test"))
    grid = next(grid for heading, grid in shown_grids.items() if heading.startswith("Final values by optimizer.name"))
    (runset,) = grid.runsets
    for panel in grid.panels:
        assert isinstance(panel, wr.BarPlot)
        (metric,) = names(panel.metrics)
        expected = learned.groupby("optimizer.name")[column(metric)].mean().to_dict()
        shown = averaged(let_through(runs, str(runset.filters)), metric, runset.groupby[0])
        assert shown == pytest.approx(expected, rel=1e-12)
        # A panel that somebody adds in W&B has no filter.
        assert averaged(runs, metric, "optimizer.name") == pytest.approx(expected, rel=1e-12)


def test_the_table_of_cells_has_the_means_of_the_bars(mixed: Mixed) -> None:
    sweep, local, _ = mixed
    learned = local["runs"][local["runs"]["learned"]]
    cells = over_learned_runs(local["cells_summary"], local["runs"])
    assert (cells["n_finished"].tolist(), cells["n_learned"].tolist()) == ([0, 2, 2], [0, 1, 2])
    for measure in MEASURES:
        expected = learned.groupby("cell")[measure].mean().reindex(cells["cell"])
        assert cells[measure].tolist() == pytest.approx(expected.tolist(), rel=1e-12, nan_ok=True)
    adam = cells[cells["optimizer.name"] == "adam"].iloc[0]
    assert adam["test_loss"] != local["cells_summary"].set_index("cell").loc[adam["cell"], "test_loss"]
    table = build_report(sweep, cells, "lab", "nfa-test").blocks[-1]
    assert isinstance(table, wr.MarkdownBlock)
    rows = {row.split(" | ")[0]: row for row in table.text.splitlines()}
    row = rows[f"| {adam['label']}"]
    assert f" | {adam['test_loss']:.3g} | " in row  # of one run, so without a standard deviation
    assert row.endswith(" | 1 |")


def test_dots_and_coordinates_are_the_runs_of_the_local_table(mixed: Mixed) -> None:
    """Scatter plots and parallel coordinates show the runs that learned, with the values of the local table."""
    sweep, local, runs = mixed
    learned = local["runs"][local["runs"]["learned"]].set_index(["optimizer.name", "seed"])
    shown_grids = grids(build_report(sweep, local["cells_summary"], "lab", "nfa-test"))
    checked = set()
    for heading in ("Alignment and features", "The axes together"):
        (runset,) = shown_grids[heading].runsets
        kept = let_through(runs, str(runset.filters))
        assert {(setting(run, "optimizer.name"), run.config["seed"]) for run in kept} == set(learned.index)
        for panel in shown_grids[heading].panels:
            if isinstance(panel, wr.ScatterPlot):
                metrics = [*names(panel.x), *names(panel.y)]
            elif isinstance(panel, wr.ParallelCoordinatesPlot):
                metrics = [name for each in panel.columns for name in names(each.metric) if "/" in name]
            else:
                continue
            for metric in metrics:
                for run in kept:
                    row = learned.loc[(setting(run, "optimizer.name"), run.config["seed"])]
                    assert run.summary[metric] == pytest.approx(row[column(metric)], rel=1e-12), metric
                checked.add(metric)
    assert checked == {
        "final/uc_nfc/mean",
        "final/directional/above_control",
        "best_probe/score",
        "final/test_loss",
    }


def test_curves_are_those_of_the_local_table(mixed: Mixed) -> None:
    sweep, local, runs = mixed
    grid = grids(build_report(sweep, local["cells_summary"], "lab", "nfa-test"))["Training"]
    finished = local["cells_summary"].query("n_diverged == 0")["cell"]
    table = local["history_summary"].query("metric == 'loss'").merge(finished, on="cell")
    (runset,) = grid.runsets
    for panel in grid.panels:
        assert isinstance(panel, wr.LinePlot)
        (metric,) = names(panel.y)
        chosen = table[table["split"] == metric.partition("/")[0]]
        expected = chosen.set_index(["cell", "step"])["mean"].to_dict()
        rows = [
            (run.config["cell"], step, row[metric])
            for run in let_through(runs, str(runset.filters))
            for step, row in run.series("train/step").items()
        ]
        shown = pd.DataFrame(rows, columns=["cell", "step", "value"]).groupby(["cell", "step"])["value"].mean()
        assert shown.to_dict() == pytest.approx(expected, rel=1e-12)


def test_runs_outside_the_panels_keep_their_curves_and_say_why(mixed: Mixed) -> None:
    sweep, local, runs = mixed
    diverged = [run for run in runs if run.config["optimizer"]["name"] == "sgd"]
    assert [(run.summary["diverged"], run.summary["diverged_at_step"]) for run in diverged] == [(True, 20)] * 2
    assert all(run.series("train/step") and run.series("alignment/step") for run in diverged)
    text = str(build_report(sweep, local["cells_summary"], "lab", "nfa-test").blocks)
    assert "Of 6 runs, 2 diverged and 1 finished but did not learn." in text


def test_a_sweep_that_learned_has_no_such_sentence(aggregated_once: Path) -> None:
    cells = pd.read_parquet(aggregated_once / "small" / "tables" / "cells_summary.parquet")
    report = build_report(parse(DOCUMENT, "test"), cells, "lab", "nfa-test")
    assert "did not learn" not in str(report.blocks)
    assert "did not reach" not in str(report.blocks)
    cells["n_not_reached"] = [2] + [0] * (len(cells) - 1)
    text = str(build_report(parse(DOCUMENT, "test"), cells, "lab", "nfa-test").blocks)
    assert f"2 of the {cells['n_seeds'].sum()} runs did not reach the training loss or accuracy of train.until" in text
