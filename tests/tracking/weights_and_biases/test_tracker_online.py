"""The real client online against a local server with faults: in the end each line is on the server exactly once."""

import json
from pathlib import Path
from typing import Any

import pytest

from nfa.errors import UserError
from nfa.stages.aggregate import aggregate
from nfa.stages.plan import begin
from nfa.stages.publish import publish
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from nfa.tracking.publication import PublishSummary
from nfa.tracking.record.cell_files import read_results
from nfa.tracking.record.run import RunRecord, build_record
from nfa.tracking.record.sweep_run import SUMMARY_KEY
from nfa.tracking.weights_and_biases import client as wandb_client
from tests.tracking.reading import ONLINE, same
from tests.tracking.test_publication import change_history
from tests.tracking.wandb_server import ENTITY, Fault, WandbServer


def records_of(sweep: Sweep, results: Path) -> dict[str, RunRecord]:
    """Lay out every run from its files, by key."""
    records = {}
    for cell in sweep.cells:
        files = read_results(SweepPaths(results / sweep.name).cell(cell.id))
        for seed in sweep.seeds:
            record = build_record(sweep, cell, seed, files)
            records[record.key] = record
    return records


def assert_everything_once(server: WandbServer, sweep: Sweep, results: Path) -> None:
    """The server has each run once with all its rows, tables, pictures and summary values."""
    runs = json.loads(SweepPaths(results / sweep.name).published.read_text())["runs"]
    expected = records_of(sweep, results)
    assert set(runs) - {SUMMARY_KEY} == set(expected)
    current = {name for name, run in server.runs.items() if "superseded" not in run.tags}
    assert {entry["id"] for entry in runs.values()} == current
    for key in expected:
        entry = runs[key]
        assert entry["sent"] is True
        run = server.runs[entry["id"]]
        logged = [row for row in run.rows() if not any(name.startswith(("tables/", "pictures/")) for name in row)]
        rows = [row for series in expected[key].series for row in series.rows]
        for row, want in zip(logged, rows, strict=True):
            assert row.keys() == want.keys()
            assert all(same(row[name], value) for name, value in want.items())
        media = [row for row in run.rows() if any(name.startswith(("tables/", "pictures/")) for name in row)]
        assert sorted(name for row in media for name in row if name.startswith("tables/")) == [
            "tables/alignment",
            "tables/probes",
            "tables/spectra",
        ]
        assert sorted(row["pictures/step"] for row in media if "pictures/step" in row) == sorted(
            picture.step for picture in expected[key].pictures
        )
        named = {value["path"] for row in media for value in row.values() if isinstance(value, dict)}
        assert named <= set(run.files), "a table or picture that is logged was not uploaded"
        assert run.config["cell"] == run.group == key.partition("/")[0]
        assert "final/test_loss" in run.summary
        assert (run.state, run.exit_code) == ("finished", 0)


def publish_until_done(sweep: Sweep, results: Path, times: int = 3) -> PublishSummary:
    """Publish again until nothing is missing, as a person would."""
    for _ in range(times):
        summary = publish(sweep, results)
        if not summary.unsent:
            break
    assert not summary.unsent
    return summary


def test_all_of_it_arrives_and_stays(server: WandbServer, online: Sweep, results: Path) -> None:
    """Names, tags and values arrive; a second publish sends no request."""
    publish(online, results)
    assert_everything_once(server, online, results)
    for run in server.runs.values():
        assert run.tags[0] == "small"
        assert (run.project, run.job_type) == ("nfa-test", "train")
    asked = len(server.requests)
    assert len(publish(online, results).unchanged) == 4
    assert len(server.requests) == asked


def test_lost_records_send_nothing_twice(server: WandbServer, online: Sweep, results: Path, tmp_path: Path) -> None:
    """Without the local folder, as on another machine, the runs are found by their ids and get no line twice."""
    publish(online, results)
    SweepPaths(results / online.name).wandb.rename(tmp_path / "lost")
    assert len(publish(online, results).published) == 4
    assert_everything_once(server, online, results)


def test_changed_content_supersedes(server: WandbServer, online: Sweep, results: Path) -> None:
    """Changed content makes a new run; the old run keeps its lines and tags and is tagged as superseded."""
    publish(online, results)
    key = f"{change_history(online, results)}/seed-0"
    before = json.loads(SweepPaths(results / online.name).published.read_text())["runs"][key]["id"]
    lines = dict(server.runs[before].lines)
    assert len(publish(online, results).published) == 1
    assert_everything_once(server, online, results)
    assert len(server.runs) == 5
    assert server.runs[before].tags == ["small", "chain_monomial", "mlp", "sgd", "superseded"]
    assert server.runs[before].lines == lines
    entry = json.loads(SweepPaths(results / online.name).published.read_text())["runs"][key]
    assert entry["superseded"] == entry["tagged"] == [before]


FAULTS: dict[str, list[Fault]] = {
    "delay": [Fault("delay", times=12, seconds=0.3)],
    "429": [Fault("status", status=429, times=3)],
    "500": [Fault("status", status=500, times=3)],
    "reset": [Fault("reset", times=3)],
    "lost answers": [Fault("lost", path, times=2) for path in ("file_stream", "UpsertBucket", "storage", "Create")],
    "silence": [Fault("silence", "file_stream", seconds=1.5), Fault("silence", "storage", seconds=1.5)],
}


@pytest.mark.slow
@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_misbehaving_server(faults: list[Fault], server: WandbServer, online: Sweep, results: Path) -> None:
    """Runs that a fault keeps from the server arrive by the next publish."""
    server.misbehave(*faults)
    publish_until_done(online, results)
    assert any(fault.times == 0 for fault in server.faults)
    assert_everything_once(server, online, results)


@pytest.mark.slow
@pytest.mark.parametrize("requests", [4, 9, 20])
def test_server_disappears_half_way(
    requests: int, server: WandbServer, online: Sweep, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing ends, reports the missing runs, and sends them when the server is back."""
    monkeypatch.setattr(wandb_client, "FINISH_SECONDS", 3.0)
    monkeypatch.setattr(wandb_client, "INIT_SECONDS", 3.0)
    server.gone_after = requests
    summary = publish(online, results)
    assert summary.unsent
    assert "nfa publish" in " ".join(summary.lines())
    server.return_()
    publish_until_done(online, results)
    assert_everything_once(server, online, results)


@pytest.mark.slow
def test_server_is_down_for_one_step_and_up_for_the_other(
    server: WandbServer, online: Sweep, aggregated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that the first publish of the workflow cannot send are sent by the second one or by a person."""
    monkeypatch.setattr(wandb_client, "FINISH_SECONDS", 3.0)
    monkeypatch.setattr(wandb_client, "INIT_SECONDS", 3.0)
    paths = SweepPaths(aggregated / online.name)
    server.gone_after = 9
    first = publish(online, aggregated, runs_only=True)
    assert json.loads(paths.published_runs.read_text())["unsent"] == first.unsent != {}
    server.return_()
    publish_until_done(online, aggregated)
    assert_everything_once(server, online, aggregated)
    change_history(online, aggregated)
    assert not publish(online, aggregated, runs_only=True).unsent
    aggregate(online, aggregated)
    server.gone_after = 0
    assert set(publish(online, aggregated).unsent) == {SUMMARY_KEY}
    server.return_()
    publish_until_done(online, aggregated)
    assert_everything_once(server, online, aggregated)


@pytest.mark.parametrize("status", [403, 404, pytest.param(500, marks=pytest.mark.slow)])
def test_a_server_without_artifacts_gets_everything_else(
    status: int, server: WandbServer, online: Sweep, aggregated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs count as published, one run tries the artifacts, and a later publish adds the links."""
    monkeypatch.setattr(wandb_client, "FINISH_SECONDS", 8.0)
    server.misbehave(Fault("status", "CreateArtifact", times=1000, status=status))
    summary = publish(online, aggregated)
    assert not summary.unsent
    assert summary.complete
    assert "the runs have no links to artifacts: " in " ".join(summary.lines())
    assert_everything_once(server, online, aggregated)
    published = SweepPaths(aggregated / online.name).published
    assert [run["linked"] for run in json.loads(published.read_text())["runs"].values()] == [False] * 5
    assert not server.artifacts
    again = publish(online, aggregated)
    assert (len(again.published), len(again.unchanged), again.unsent) == (1, 4, {})
    server.faults.clear()
    assert len(publish(online, aggregated).published) == 5
    assert_everything_once(server, online, aggregated)
    assert [run["linked"] for run in json.loads(published.read_text())["runs"].values()] == [True] * 5
    (configuration,) = (artifact for artifact in server.artifacts.values() if artifact.type == "configuration")
    assert set(configuration.used_by) == set(server.runs)


def test_artifacts_can_be_turned_off_and_on(server: WandbServer, aggregated: Path) -> None:
    """Without them no request is about artifacts; turned on later, the links are added to the same runs."""
    settings: Any = ONLINE["wandb"]
    off: dict[str, Any] = {**ONLINE, "wandb": {**settings, "artifacts": False}}
    publish(parse(off, "test"), aggregated)
    assert_everything_once(server, parse(off, "test"), aggregated)
    assert not [request for request in server.requests if "Artifact" in request]
    assert len(publish(parse(off, "test"), aggregated).unchanged) == 5
    runs = set(server.runs)
    assert len(publish(parse(ONLINE, "test"), aggregated).published) == 5
    assert set(server.runs) == runs
    assert {artifact.type for artifact in server.artifacts.values()} == {"configuration", "tables", "report"}


def test_wrong_key_or_team_is_one_line(server: WandbServer, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes before any run, and does not contain the key."""
    wrong: dict[str, Any] = {**ONLINE, "wandb": {"mode": "online", "project": "nfa-test", "entity": "nobody"}}
    with pytest.raises(UserError, match=f"entity 'nobody' is not yours; this key may write to {ENTITY}") as caught:
        publish(parse(wrong, "test"), results)
    assert "\n" not in str(caught.value)
    other = "0" * 40
    monkeypatch.setenv("WANDB_API_KEY", other)
    with pytest.raises(UserError, match="not logged in") as caught:
        publish(parse(ONLINE, "test"), results)
    assert "\n" not in str(caught.value)
    assert other not in str(caught.value)
    assert not server.runs


def test_refused_project_is_one_line(online: Sweep, results: Path, server: WandbServer) -> None:
    """A project that this key may not write to is reported at the first run, and no second run is tried."""
    server.projects = ("other",)
    with pytest.raises(UserError, match="project nfa-test not found; correct it, or set") as caught:
        publish(online, results)
    assert "\n" not in str(caught.value)
    assert sum("UpsertBucket" in request for request in server.requests) == 1


def test_account_is_checked_before_anything_trains(
    online: Sweep,
    server: WandbServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """When Snakemake starts, a server without an answer gives a warning and a wrong key an error of one line."""
    begin(online, SweepPaths(tmp_path / "good"))
    assert capfd.readouterr().err == ""
    server.disappear()
    begin(online, SweepPaths(tmp_path / "gone"))
    said = capfd.readouterr().err
    assert "does not answer" in said
    assert "the sweep goes on" in said
    server.return_()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with pytest.raises(UserError, match="not logged in"):
        begin(online, SweepPaths(tmp_path / "wrong"))
    assert not server.runs
