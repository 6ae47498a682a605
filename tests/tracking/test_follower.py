"""Live curves of the command line, online: runs grow while they train and when their stages end."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nfa.storage.paths import CellPaths, SweepPaths
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.grid import parse
from nfa.tracking import follower as follow
from tests.tracking.wandb_server import KEY, Fault, WandbServer
from tests.tracking.weights_and_biases.test_tracker_online import assert_everything_once

DOCUMENT: dict[str, Any] = {
    "sweep": "live",
    "seeds": 2,
    "data": [{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 256}],
    "model": [{"name": "mlp", "width": 16, "depth": 1}],
    "optimizer": [{"name": "sgd", "lr": 0.1}],
    "train": {"steps": 400, "checkpoints": 3},
    "wandb": {"mode": "online", "project": "nfa-live"},
}
Stage = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def server() -> Iterator[WandbServer]:
    """A server."""
    with WandbServer() as server:
        yield server
        assert not server.unknown


@pytest.fixture
def stage(server: WandbServer, tmp_path: Path) -> Iterator[Stage]:
    """Start a stage of a sweep as a process that is told of the server."""
    begun: list[subprocess.Popen[str]] = []

    def start(name: str, *options: str, document: dict[str, Any] = DOCUMENT) -> "subprocess.Popen[str]":
        config = tmp_path / "live.yaml"
        config.write_text(yaml.safe_dump(document))
        environment = {**os.environ, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "nfa", name, str(config), "--results", str(tmp_path / "results"), *options]
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=subprocess.STDOUT))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()  # does nothing to a process that has ended


def finish(process: "subprocess.Popen[str]") -> str:
    """Wait for a stage that must succeed."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def live_sweep(results: Path) -> Sweep:
    """The sweep as it is published: its only cell, its two seeds."""
    assert results.exists()
    return parse(DOCUMENT, "test")


def wait_for(condition: Callable[[], bool], seconds: float = 200.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_only_what_has_changed_is_read(online: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower reads unchanged files once, so that thousands of runs do not cost the training time."""
    read: list[tuple[str, int]] = []

    def count(sweep: Sweep, cell: Cell, seed: int, paths: CellPaths) -> None:
        read.append((cell.id, seed))

    monkeypatch.setattr(follow, "read_begun", count)
    follower = follow._Follower(online, online.cells, tmp_path)
    assert not follower._look()
    assert len(read) == 4
    assert not follower._look()
    assert len(read) == 4
    cell = online.cells[1]
    saved, *_ = follow.begun_files(online, cell, 3, SweepPaths(tmp_path / online.name).cell(cell.id))
    saved.parent.mkdir(parents=True)
    saved.write_bytes(b"more")
    assert not follower._look()
    assert read[4:] == [(cell.id, 3)]


@pytest.mark.slow
def test_wrong_key_is_said_and_costs_no_training(
    server: WandbServer, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key is one line in the stage's log, at its start."""
    server.key = "1" * 40
    output = finish(stage("train", document={**DOCUMENT, "train": {"steps": 40_000, "checkpoints": 3}}))
    (line,) = (line for line in output.splitlines() if "no live curves" in line)
    assert "not logged in" in line
    assert KEY not in output
    assert not server.runs


@pytest.mark.slow
def test_runs_grow_stage_by_stage(server: WandbServer, stage: Stage, tmp_path: Path) -> None:
    """One run per seed from its first step to its tables, each line once."""
    lengths = []
    for name in ("train", "measure", "probe", "publish"):
        finish(stage(name))
        wait_for(lambda: all(run.state == "finished" for run in server.runs.values()))
        lengths.append([len(run.lines) for run in server.runs.values()])
        assert len(server.runs) == 2
    for before, after in itertools.pairwise(lengths):
        assert all(new > old for old, new in zip(before, after, strict=True))
    assert_everything_once(server, live_sweep(tmp_path / "results"), tmp_path / "results")
    asked = len(server.requests)
    assert "0 runs published online, 2 unchanged" in finish(stage("publish"))
    assert len(server.requests) == asked
    for run in server.runs.values():
        assert run.config["provenance"]["device"] == "cpu"
    begun = set(server.runs)
    shutil.rmtree(SweepPaths(tmp_path / "results" / "live").wandb)  # with the records of what was begun
    finish(stage("publish"))
    assert {name for name, run in server.runs.items() if "superseded" in run.tags} == begun
    assert_everything_once(server, live_sweep(tmp_path / "results"), tmp_path / "results")


@pytest.mark.slow
def test_runs_grow_while_they_train_and_go_on_after_a_kill(server: WandbServer, stage: Stage, tmp_path: Path) -> None:
    """Curves appear while a run trains, and continue after a kill without repeated lines.

    The followers of the later stages open the run again that the follower of the training closed.
    """
    long = {**DOCUMENT, "train": {"steps": 30_000, "checkpoints": 3}}
    training = stage("train", "--save-every", "0.2", document=long)
    wait_for(lambda: any(run.lines for run in server.runs.values()))
    assert training.poll() is None
    assert not list((tmp_path / "results").glob("*/*/history.parquet"))
    begun = set(server.runs)
    training.send_signal(signal.SIGKILL)
    training.communicate(timeout=20)
    time.sleep(1.0)
    for name in ("train", "measure", "probe"):
        assert "warning" not in finish(stage(name, document=long))
    wait_for(lambda: all(run.state == "finished" for run in server.runs.values()))
    finish(stage("publish", document=long))
    assert begun <= set(server.runs)
    assert len(server.runs) == 2
    assert_everything_once(server, parse(long, "test"), tmp_path / "results")


@pytest.mark.slow
def test_changed_after_it_was_begun(server: WandbServer, stage: Stage, tmp_path: Path) -> None:
    """Another setting of a later stage makes a new run, and the run begun before is tagged."""
    finish(stage("train"))
    finish(stage("measure"))
    begun = set(server.runs)
    assert len(begun) == 2
    other = {**DOCUMENT, "measure": {"samples": 100}}
    for name in ("measure", "probe", "publish"):
        finish(stage(name, document=other))
    assert {name for name, run in server.runs.items() if "superseded" in run.tags} == begun
    assert_everything_once(server, parse(other, "test"), tmp_path / "results")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["silence", "gone"])
def test_training_does_not_wait_for_a_bad_server(kind: str, server: WandbServer, stage: Stage, tmp_path: Path) -> None:
    """Without a server the stages end with complete files, and `nfa publish` sends the runs later."""
    if kind == "gone":
        server.disappear()
    else:
        server.misbehave(Fault("silence", times=1000, seconds=100.0))
    for name in ("train", "measure", "probe"):
        finish(stage(name))  # within its time limit
    assert not server.runs
    if kind == "silence":
        server.disappear()
    server.return_()
    finish(stage("publish"))
    assert_everything_once(server, live_sweep(tmp_path / "results"), tmp_path / "results")
    runs = json.loads(SweepPaths(tmp_path / "results" / "live").published.read_text())["runs"]
    assert len(runs) == 2
