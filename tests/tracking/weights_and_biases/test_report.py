"""The W&B Report: the tree of its blocks, and the report that is saved on a server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from wandb_workspaces.reports.v2 import interface as wr

from nfa.errors import UserError
from nfa.stages.publish import publish
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from nfa.tracking.weights_and_biases.report import MAX_LAYERS, _hidden_layers, build_report, cells_markdown
from tests.helpers import tiny_sweep
from tests.tracking.reading import DOCUMENT, ONLINE
from tests.tracking.wandb_server import ENTITY, Fault, WandbServer


@pytest.fixture
def cells(aggregated_once: Path) -> pd.DataFrame:
    """The aggregated table."""
    return pd.read_parquet(aggregated_once / "small" / "tables" / "cells_summary.parquet")


def grids(report: wr.Report) -> dict[str, wr.PanelGrid]:
    """Panel grids by the heading above them."""
    found, heading = {}, ""
    for block in report.blocks:
        if isinstance(block, wr.H1 | wr.H2):
            heading = str(block.text)
        elif isinstance(block, wr.PanelGrid):
            found[heading] = block
    return found


def names(value: Any) -> Iterator[str]:
    """Names of metrics and settings in a panel."""
    for each in value if isinstance(value, list) else [value]:
        yield each if isinstance(each, str) else each.name


def test_blocks(cells: pd.DataFrame) -> None:
    """Headings in order, formulas, and the panels of each part."""
    sweep = parse(DOCUMENT, "test")
    # All these part the cells alike, so one group of panels serves them.
    varied = ["data.name (with model.name, data.n_train, data.n_test, data.standardise, model.width)"]
    report = build_report(sweep, cells, "lab", "nfa-test")
    headings = [(type(block).__name__, block.text) for block in report.blocks if isinstance(block, wr.H1 | wr.H2)]
    assert headings == [
        ("H1", "What was swept"),
        ("H1", "What is measured"),
        ("H1", "Training"),
        ("H1", "Alignment over training"),
        *(("H2", f"By {name}") for name in varied),
        ("H2", "Layer by layer"),
        ("H1", "Alignment and features"),
        *(("H1", f"Final values by {name}") for name in varied),
        ("H1", "The axes together"),
        ("H1", "All cells"),
    ]
    assert report.title == "small: neural feature ansatz"
    assert sum(isinstance(block, wr.LatexBlock) for block in report.blocks) == 2
    panels = {heading: [type(panel).__name__ for panel in grid.panels] for heading, grid in grids(report).items()}
    assert panels == {
        "Training": ["LinePlot"] * 2,
        **{f"By {name}": ["LinePlot"] * 3 for name in varied},
        "Layer by layer": ["LinePlot"] * 6,
        "Alignment and features": ["ScatterPlot"] * 4,
        **{f"Final values by {name}": ["BarPlot"] * 8 for name in varied},
        "The axes together": ["ParallelCoordinatesPlot", *["ParameterImportancePlot"] * 3],
    }
    assert isinstance(report.blocks[-1], wr.MarkdownBlock)


def test_panels_show_what_runs_have(cells: pd.DataFrame, aggregated: Path, server: WandbServer, online: Sweep) -> None:
    """Every metric and every setting in a panel is in the runs that are published; curves are means over seeds."""
    publish(online, aggregated)
    runs = [run for run in server.runs.values() if run.job_type == "train"]
    history = {name for run in runs for row in run.rows() for name in row}
    summary = {name for run in runs for name in run.summary}
    settings = {*online.swept, "cell"}
    for grid in grids(build_report(online, cells, ENTITY, "nfa-test")).values():
        (runset,) = grid.runsets
        assert "superseded" in str(runset.filters)
        for panel in grid.panels:
            if isinstance(panel, wr.LinePlot):
                assert set(names(panel.y)) | set(names(panel.x)) <= history
                assert panel.groupby_aggfunc == "mean"
                assert set(names(panel.groupby)) <= settings
            elif isinstance(panel, wr.ScatterPlot):
                assert {*names(panel.x), *names(panel.y)} <= summary
            elif isinstance(panel, wr.BarPlot):
                assert set(names(panel.metrics)) <= summary
                assert set(names(panel.groupby)) <= set(online.swept)
            elif isinstance(panel, wr.ParallelCoordinatesPlot):
                shown = {name for column in panel.columns for name in names(column.metric)}
                assert set(online.swept) <= shown <= summary | settings
            else:
                assert isinstance(panel, wr.ParameterImportancePlot)
                assert panel.with_respect_to in summary


def test_runs_are_not_grouped_by_a_mapping(cells: pd.DataFrame) -> None:
    """W&B has columns of its parts alone, and would put all runs in one group."""
    speeds = [{"first": 1, "others": 0.1}, {"first": 1, "others": 0.5}]
    sweep = parse({**DOCUMENT, "optimizer": [{"name": "slo", "lr": 0.1, "speeds": speeds}]}, "test")
    report = build_report(sweep, cells, "lab", "nfa-test")
    assert "optimizer.speeds: " in str(report.blocks)
    for grid in grids(report).values():
        assert "config.optimizer.speeds" not in grid.runsets[0].groupby
        assert "optimizer.speeds'" not in str(grid.panels)


def test_every_setting_that_varies_has_panels(cells: pd.DataFrame) -> None:
    """Settings of one axis have panels of their own; a setting that does not vary has none."""
    document = {
        **DOCUMENT,
        "data": DOCUMENT["data"][:1],
        "model": [{"name": "mlp", "width": [4, 8], "depth": [1, 2]}],
        "optimizer": [{"name": "sgd", "lr": [0.1, 0.5]}, {"name": "adam", "lr": 0.01}],
    }
    shown = grids(build_report(parse(document, "test"), cells, "lab", "nfa-test"))
    by = ["optimizer.name", "model.width", "model.depth", "optimizer.lr"]
    varied = [name for name in parse(document, "test").swept if name in by]
    assert {f"By {name}" for name in varied} <= shown.keys()
    assert {f"Final values by {name}" for name in varied} <= shown.keys()
    assert not any("data" in heading or "model.name" in heading for heading in shown)
    assert shown["By model.depth"].runsets[0].groupby == ["config.model.depth"]
    assert "model.width" in str(shown["By model.depth"].runsets[0].name), "the means are over widths too"


def test_pure(cells: pd.DataFrame) -> None:
    """The same data give the same report, except for names that W&B draws; inputs are not changed."""
    sweep, before = parse(DOCUMENT, "test"), cells.copy()
    first, second = (build_report(sweep, cells, "lab", "nfa-test") for _ in range(2))
    assert repr(first) == repr(second)
    pd.testing.assert_frame_equal(cells, before)
    assert sweep == parse(DOCUMENT, "test")


def test_deep_networks_show_their_ends(cells: pd.DataFrame) -> None:
    """A deep network has panels for its first and last layers only."""
    deep = parse({**DOCUMENT, "model": [{"name": "mlp", "width": 4, "depth": 29}]}, "test")
    grid = grids(build_report(deep, cells, "lab", "nfa-test"))["Layer by layer"]
    layers = [int(str(panel.y[0]).rpartition("/")[2]) for panel in grid.panels if isinstance(panel, wr.LinePlot)]
    assert layers[::3] == [*range(MAX_LAYERS // 2), *range(29 - MAX_LAYERS // 2, 29)]


def test_a_quantity_shares_its_panel_with_its_control(cells: pd.DataFrame) -> None:
    """Both curves of a pair are in each panel of alignment, and the readout is in none."""
    shown = grids(build_report(parse(DOCUMENT, "test"), cells, "lab", "nfa-test"))
    pairs = {("uc_nfc", "haar_nfc"), ("c_nfc", "c_haar_nfc"), ("directional", "directional_haar")}
    for heading in (next(name for name in shown if name.startswith("By data.name")), "Layer by layer"):
        panels = [panel for panel in shown[heading].panels if isinstance(panel, wr.LinePlot)]
        lines = [[name.split("/") for name in names(panel.y)] for panel in panels]
        assert {tuple(quantity for _, quantity, _ in line) for line in lines} == pairs
        assert "readout" not in {layer for line in lines for *_, layer in line}


def test_table_of_cells(cells: pd.DataFrame) -> None:
    """The table is sorted by test loss, shows undefined values as n/a, and survives special characters in names."""
    frame = pd.concat([cells, cells.assign(label="a|b", test_loss=float("nan"))], ignore_index=True)
    lines = cells_markdown(frame).splitlines()
    assert len(lines) == 2 + len(frame)
    row = cells.set_index("label").loc[lines[2].split(" | ")[0].removeprefix("| ")]
    assert f"({row['directional_haar']:.3g})" in lines[2]
    assert f"({row['directional_above_control_in_sd']:.3g} sd)" in lines[2]
    losses = [line.split(" | ")[2] for line in lines[2:]]
    assert "±" in losses[0]
    assert losses[-2:] == ["n/a", "n/a"]
    assert all("a\\|b" in line for line in lines[-2:])


def test_created_once_then_updated(online: Sweep, aggregated: Path, server: WandbServer) -> None:
    """The server holds exactly one report, also after a second publish, lost records and a lost answer."""
    summary = publish(online, aggregated, report=True)
    ((identifier, kept),) = server.reports.items()
    assert summary.report is not None
    assert identifier in summary.report
    assert identifier in " ".join(summary.lines())
    assert (kept["displayName"], kept["type"]) == ("small: neural feature ansatz", "runs")
    assert (kept["entityName"], kept["projectName"]) == (ENTITY, "nfa-test")
    blocks = json.loads(kept["spec"])["blocks"]
    assert [block["type"] for block in blocks].count("panel-grid") == 6
    run_set = next(block for block in blocks if block["type"] == "panel-grid")["metadata"]["runSets"][0]
    assert run_set["project"]["name"] == "nfa-test"
    assert run_set["grouping"] == [{"section": "config", "name": "cell.value"}]
    asked = [
        (each["key"]["section"], each["key"]["name"], each["op"], each["value"])
        for each in run_set["filters"]["filters"]
    ]
    assert asked == [
        ("config", "sweep", "=", "small"),
        ("run", "jobType", "=", "train"),
        ("run", "tags", "NIN", ["superseded"]),
        ("summary", "diverged", "=", False),
    ]
    record = SweepPaths(aggregated / online.name).wandb / ".state" / "report.json"
    publish(online, aggregated, report=True)
    assert list(server.reports) == [identifier]
    record.unlink()
    publish(online, aggregated, report=True)
    assert list(server.reports) == [identifier]
    server.reports.clear()  # someone deletes it
    publish(online, aggregated, report=True)
    assert len(server.reports) == 1
    record.unlink()
    server.reports.clear()
    server.misbehave(Fault("lost", "upsertView", times=1))
    publish(online, aggregated, report=True)
    publish(online, aggregated, report=True)
    assert len(server.reports) == 1


def test_what_stands_in_the_way_is_said(sweep: Sweep, results: Path, server: WandbServer) -> None:
    """A report is refused offline, and before the sweep is aggregated."""
    with pytest.raises(UserError, match="--report: a report lies on a W&B server") as caught:
        publish(sweep, results, report=True)
    assert "\n" not in str(caught.value)
    summary = publish(parse(ONLINE, "test"), results, report=True)
    assert len(summary.published) == 4
    assert "no report: the sweep is not aggregated" in " ".join(summary.lines())
    assert not server.reports


def test_a_layer_that_another_map_follows_is_a_hidden_layer() -> None:
    function = {"name": "tests.tracking.networks:squashed"}
    assert _hidden_layers(tiny_sweep(data=[{"name": "fashion_mini"}], model=[function])) == ["0", "1"]


@pytest.mark.parametrize("heads", [False, True])
def test_layers_that_are_measured_by_head_have_a_panel_for_each_head(heads: bool) -> None:
    transformer = {"name": "transformer", "depth": 1, "width": 8, "heads": 2, "patch": 14}
    sweep = tiny_sweep(data=[{"name": "fashion_mini"}], model=[transformer], measure={"heads": heads})
    cut = [f"blocks.0.{part}.{head}" for part in ("query", "key", "value") for head in (0, 1)]
    projections = cut if heads else ["1", "2", "3"]
    assert _hidden_layers(sweep) == ["0", *projections, "4", "5", "6"]
