"""The summary run of a sweep, and the lineage of its files."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nfa.stages.aggregate import aggregate
from nfa.stages.publish import publish
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import write_frame
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from nfa.tracking.record.sweep_files import sweep_is_aggregated, table_path
from nfa.tracking.record.sweep_run import SUMMARY_KEY, TABLES
from tests.tracking.reading import ONLINE, Logged, run_folders
from tests.tracking.wandb_server import WandbServer


def undefined(value: Any) -> bool:
    """Return True for a missing value and for a number that JSON cannot hold."""
    return value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value))


def test_the_cells_runs_are_published_before_the_sweep_is_aggregated(sweep: Sweep, results: Path) -> None:
    """The summary run is published later, because the workflow publishes and aggregates at the same time."""
    paths = SweepPaths(results / sweep.name)
    first = publish(sweep, results, runs_only=True)
    assert (len(first.published), first.summary_left_out) == (4, False)
    assert not paths.published.exists()
    named = json.loads(paths.published_runs.read_text())["runs"]
    assert set(named) == set(first.published)
    aggregate(sweep, results)
    then = publish(sweep, results)
    assert (then.published, len(then.unchanged)) == ([SUMMARY_KEY], 4)
    assert json.loads(paths.published.read_text())["runs"].items() >= named.items()
    publish(sweep, results, runs_only=True)
    assert json.loads(paths.published_runs.read_text())["runs"] == named


def test_every_table_figure_and_page(sweep: Sweep, aggregated: Path) -> None:
    """W&B's reader returns each value of each aggregated table."""
    paths = SweepPaths(aggregated / sweep.name)
    publish(sweep, aggregated)
    entry = json.loads(paths.published.read_text())["runs"][SUMMARY_KEY]
    run = Logged(paths.wandb / entry["folder"])
    assert (run.run["job_type"], run.run["tags"]) == ("sweep", ["small", "summary"])
    assert (run.summary["cells"], run.config["cells"], run.config["seeds"]) == (2, 2, [0, 3])
    assert "wandb" not in json.loads(run.config["document"])
    assert set(run.config["artifacts"]) == {"small-configuration", "small-tables", "small-report"}
    for name in TABLES:
        frame = pd.read_parquet(paths.tables / f"{name}.parquet")
        rows = run.table(name)
        assert len(rows) == len(frame)
        assert all(list(row) == list(frame.columns) for row in rows)
        for row, values in zip(rows, frame.itertuples(index=False, name=None), strict=True):
            for (key, shown), value in zip(row.items(), values, strict=True):
                assert (shown is None) if undefined(value) else shown == value, f"{name}.{key}"
    figures = {file.stem for file in paths.figures.glob("*.png")}
    logged = {key for item in run.history for key in item if key.startswith("pictures/") and key.endswith(".path")}
    assert {f"pictures/{name}.path" for name in figures} == logged
    page = run.folder / "files" / run.summary["pages/report.path"]
    assert page.read_text(encoding="utf-8") == paths.report.read_text(encoding="utf-8")


def test_without_aggregation_it_is_left_out(sweep: Sweep, results: Path) -> None:
    """The output names the reason."""
    assert not sweep_is_aggregated(sweep, SweepPaths(results / sweep.name))
    summary = publish(sweep, results)
    assert summary.summary_left_out
    assert "run `nfa aggregate`" in " ".join(summary.lines())
    assert len(run_folders(summary.place.folder)) == 4


def test_tables_of_other_runs_are_not_this_sweep_s(sweep: Sweep, aggregated: Path) -> None:
    """Tables of another sweep file of the same name, or of fewer seeds, are not published."""
    paths = SweepPaths(aggregated / sweep.name)
    assert sweep_is_aggregated(sweep, paths)
    path = table_path(paths, "runs")
    frame = pd.read_parquet(path)
    for other in (frame.assign(cell=frame["cell"] + "0"), frame.iloc[1:], pd.concat([frame, frame.assign(seed=99)])):
        write_frame(path.with_suffix(""), other)
        assert not sweep_is_aggregated(sweep, paths)
        assert publish(sweep, aggregated).summary_left_out
    write_frame(path.with_suffix(""), frame)
    assert publish(sweep, aggregated).published == [SUMMARY_KEY]


def test_it_is_replaced_when_a_table_changes(sweep: Sweep, aggregated: Path) -> None:
    """After a change there is one folder, with the new content."""
    publish(sweep, aggregated)
    path = SweepPaths(aggregated / sweep.name).tables / "runs.parquet"
    frame = pd.read_parquet(path)
    frame["test_loss"] += 1.0
    write_frame(path.with_suffix(""), frame)
    assert publish(sweep, aggregated).published == [SUMMARY_KEY]
    assert sum("-sweep-" in folder.name for folder in run_folders(SweepPaths(aggregated / sweep.name).wandb)) == 1


@pytest.mark.parametrize("limit", [1.0, 0.0001])
def test_lineage(limit: float, aggregated: Path, server: WandbServer) -> None:
    """Artifacts link configuration, runs, checkpoints if small enough, summary run, tables and report."""
    sweep = parse({**ONLINE, "wandb": {"mode": "online", "project": "nfa-test", "checkpoints_mb": limit}}, "test")
    cell = sweep.cells[0]
    file = SweepPaths(aggregated / sweep.name).cell(cell.id).checkpoint(0, 20)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"0" * 1000)
    publish(sweep, aggregated)
    runs = json.loads(SweepPaths(aggregated / sweep.name).published.read_text())["runs"]
    ids = {key: entry["id"] for key, entry in runs.items()}
    kinds = {artifact.type: artifact for artifact in server.artifacts.values()}
    assert all(artifact.committed for artifact in server.artifacts.values())
    assert set(kinds["configuration"].used_by) == set(ids.values())
    assert kinds["tables"].made_by == kinds["report"].made_by == ids[SUMMARY_KEY]
    assert set(kinds["tables"].manifest["contents"]) == {f"{name}.parquet" for name in TABLES}
    if limit < 0.001:
        assert "checkpoints" not in kinds
    else:
        assert kinds["checkpoints"].made_by == ids[f"{cell.id}/seed-0"]
        assert kinds["checkpoints"].used_by == [ids[SUMMARY_KEY]]
        assert set(kinds["checkpoints"].manifest["contents"]) == {"step-20.safetensors"}
