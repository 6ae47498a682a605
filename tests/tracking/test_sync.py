"""Offline runs that `wandb sync` brings to a server: everything exactly once; online publishing goes on from there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nfa.paths import SweepPaths
from nfa.stages.publish import publish
from nfa.sweep import Sweep
from nfa.tracking.sweep_record import KEY as SUMMARY
from tests.tracking.reading import run_folders
from tests.tracking.test_online import assert_everything_once
from tests.tracking.wandb_server import KEY, Fault, WandbServer


def sync(folder: Path, server: WandbServer) -> str:
    """Upload a folder of runs as a person does."""
    environment = {**os.environ, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address}
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    return done.stdout + done.stderr


def test_sync_then_online(server: WandbServer, sweep: Sweep, online: Sweep, aggregated: Path) -> None:
    """A second sync sends nothing; online the runs that are there get their lineage, and not a line more."""
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["500", "lost answers", "disappears"])
def test_sync_into_a_bad_server(kind: str, server: WandbServer, sweep: Sweep, aggregated: Path) -> None:
    """Synced again until nothing is left, everything is there once."""
    publish(sweep, aggregated)
    folder = SweepPaths(aggregated / sweep.name).wandb
    if kind == "500":
        server.misbehave(Fault("status", times=6, status=500))
    elif kind == "lost answers":
        server.misbehave(*(Fault("lost", path, times=2) for path in ("file_stream", "UpsertBucket", "storage")))
    else:
        server.gone_after = 12
        process = subprocess.Popen(
            [sys.executable, "-m", "wandb", "sync", str(folder)],
            env={**os.environ, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:  # it waits for the server; a person interrupts it
            process.terminate()
            process.wait(20)
        server.return_()
    for _ in range(4):
        if "No runs to sync" in sync(folder, server):
            break
    assert all(any(run.glob("*.synced")) for run in run_folders(folder))
    publish(sweep, aggregated)
    assert_everything_once(server, sweep, aggregated)
    assert any(run.job_type == "sweep" for run in server.runs.values())
    assert SUMMARY in publish(sweep, aggregated).unchanged
