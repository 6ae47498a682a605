"""`wandb sync` uploads offline runs exactly once, and online publishing continues from there."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nfa.stages.publish import publish
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from nfa.tracking.record.sweep_run import SUMMARY_KEY
from tests.tracking.reading import run_folders
from tests.tracking.wandb_server import KEY, Fault, WandbServer
from tests.tracking.weights_and_biases.test_tracker_online import assert_everything_once


def started(folder: Path, server: WandbServer) -> "subprocess.Popen[str]":
    """Start `wandb sync` on a folder of runs."""
    environment = {**os.environ, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address}
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    # In the folder itself: the client writes its logs to `wandb` in the working folder.
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=pipe, stderr=subprocess.STDOUT)


def sync(folder: Path, server: WandbServer) -> str:
    """Run `wandb sync` on a folder of runs until it ends."""
    return started(folder, server).communicate(timeout=200)[0]


def test_sync_then_online(server: WandbServer, sweep: Sweep, online: Sweep, aggregated: Path) -> None:
    """A second sync sends nothing; publishing online adds only the lineage of the runs."""
    publish(sweep, aggregated)
    folder = SweepPaths(aggregated / sweep.name).wandb
    sync(folder, server)
    assert "No runs to sync" in sync(folder, server)
    assert len(publish(sweep, aggregated).unchanged) == 5
    assert_everything_once(server, sweep, aggregated)
    lines = {name: dict(run.lines) for name, run in server.runs.items()}
    assert not server.artifacts
    publish(online, aggregated)
    assert_everything_once(server, online, aggregated)
    assert {name: dict(run.lines) for name, run in server.runs.items()} == lines
    (configuration,) = (each for each in server.artifacts.values() if each.type == "configuration")
    assert set(configuration.used_by) == set(server.runs)
    asked = len(server.requests)
    assert len(publish(online, aggregated).unchanged) == 5
    assert len(server.requests) == asked


FAULTS: dict[str, list[Fault]] = {
    "500": [Fault("status", times=6, status=500)],
    "lost answers": [Fault("lost", path, times=2) for path in ("file_stream", "UpsertBucket", "storage")],
}


@pytest.mark.slow
@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_sync_into_a_bad_server(faults: list[Fault], server: WandbServer, sweep: Sweep, aggregated: Path) -> None:
    """In spite of faults, all runs and the summary run arrive exactly once."""
    publish(sweep, aggregated)
    server.misbehave(*faults)
    folder = SweepPaths(aggregated / sweep.name).wandb
    sync(folder, server)
    assert all(any(run.glob("*.synced")) for run in run_folders(folder))
    assert SUMMARY_KEY in publish(sweep, aggregated).unchanged
    assert_everything_once(server, sweep, aggregated)


@pytest.mark.slow
def test_sync_waits_for_a_server_that_disappears(server: WandbServer, sweep: Sweep, aggregated: Path) -> None:
    """After the server has come back, all runs arrive exactly once."""
    publish(sweep, aggregated)
    server.gone_after = 12
    process = started(SweepPaths(aggregated / sweep.name).wandb, server)
    while not server.stopping.is_set():
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(3.0)
    server.return_()
    process.communicate(timeout=200)
    assert len(publish(sweep, aggregated).unchanged) == 5
    assert_everything_once(server, sweep, aggregated)


@pytest.mark.slow
def test_killed_sync_is_finished_by_publishing(
    server: WandbServer, sweep: Sweep, online: Sweep, aggregated: Path
) -> None:
    """A second `wandb sync` would append all lines again; online publishing sends only the missing ones."""
    publish(sweep, aggregated)
    server.gone_with_lines = True  # not a count of requests, because lines may come with any of them
    process = started(SweepPaths(aggregated / sweep.name).wandb, server)
    while not server.stopping.is_set():
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    process.communicate()
    server.return_()
    assert 0 < sum(len(run.lines) for run in server.runs.values()) < 4 * 19
    publish(online, aggregated)
    assert_everything_once(server, online, aggregated)
