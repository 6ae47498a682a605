"""Two processes publish many runs: each run once, even if the second process fails."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nfa.stages.publish import publish
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from nfa.tracking import publication
from nfa.tracking.record.run import RunRecord
from nfa.tracking.tracker import Sent, TrackerError
from nfa.tracking.weights_and_biases.tracker import WandbTracker
from tests.tracking.reading import run_folders
from tests.tracking.test_publication import PUBLISH, change_history, python
from tests.tracking.wandb_server import WandbServer
from tests.tracking.weights_and_biases.test_tracker_online import assert_everything_once

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the four runs of the small sweep count as many."""
    monkeypatch.setattr(publication, "MANY_RUNS", 4)


def before_each(monkeypatch: pytest.MonkeyPatch, act: Callable[[RunRecord], None]) -> None:
    """Call ``act`` in the publishing process before it publishes a run."""
    whole = WandbTracker.publish

    def instead(tracker: WandbTracker, run: RunRecord) -> Sent:
        act(run)
        return whole(tracker, run)

    monkeypatch.setattr(WandbTracker, "publish", instead)


def test_each_has_half_and_all_are_counted(
    sweep: Sweep, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(run: RunRecord) -> None:
        with (tmp_path / str(os.getpid())).open("a") as log:
            log.write(f"{run.key}\n")

    before_each(monkeypatch, note)
    keys = [[f"{cell.id}/seed-{seed}" for seed in sweep.seeds] for cell in sweep.cells]
    first = publish(sweep, results)
    assert (first.published, first.unchanged, first.unsent) == ([*keys[0], *keys[1]], [], {})
    here, there = (tmp_path / str(os.getpid())), [path for path in tmp_path.iterdir() if path.name.isdecimal()]
    assert len(there) == 2
    assert sorted(path.read_text().split() for path in there) == sorted(keys)
    assert here.read_text().split() == keys[0]
    assert len(run_folders(SweepPaths(results / sweep.name).wandb)) == 4
    again = publish(sweep, results)
    assert (again.published, again.unchanged) == ([], [*keys[0], *keys[1]])
    change_history(sweep, results)
    changed = publish(sweep, results)
    assert changed.published == [keys[0][0]]
    assert sorted(changed.unchanged) == sorted([keys[0][1], *keys[1]])


def test_a_killed_second_process_costs_nothing(sweep: Sweep, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process publishes the runs that a killed second process has not published."""
    parent, killed = os.getpid(), sweep.seeds[1]

    def kill(run: RunRecord) -> None:
        if os.getpid() != parent and run.key.endswith(f"-{killed}"):
            os.kill(os.getpid(), signal.SIGKILL)

    before_each(monkeypatch, kill)
    summary = publish(sweep, results)
    assert sorted(summary.published) == sorted(f"{cell.id}/seed-{seed}" for cell in sweep.cells for seed in sweep.seeds)
    assert not summary.unsent
    assert len(run_folders(SweepPaths(results / sweep.name).wandb)) == 4


def test_a_run_that_neither_can_publish_is_named_once(
    sweep: Sweep, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = f"{sweep.cells[1].id}/seed-{sweep.seeds[0]}"

    def fail(run: RunRecord) -> None:
        if run.key == wrong:
            raise TrackerError("no such run")

    before_each(monkeypatch, fail)
    summary = publish(sweep, results)
    assert summary.unsent == {wrong: "no such run"}
    assert len(summary.published) == 3


def test_nothing_temporary_is_left(sweep: Sweep, results: Path, tmp_path: Path) -> None:
    """Temporary files are removed although a fork skips the client's clean-up at exit."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = f"{PUBLISH}\nfrom nfa.tracking import publication\npublication.MANY_RUNS = 4\n"
    code += f"publish(parse(DOCUMENT, 'test'), Path({str(results)!r}))"
    with python(code, results.parent, TMPDIR=str(temporary)) as process:
        assert process.wait() == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_online_a_killed_second_process_sends_nothing_twice(
    server: WandbServer, online: Sweep, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, killed = os.getpid(), online.seeds[1]

    def kill(run: RunRecord) -> None:
        if os.getpid() != parent and run.key.endswith(f"-{killed}"):
            os.kill(os.getpid(), signal.SIGKILL)

    before_each(monkeypatch, kill)
    assert len(publish(online, results).published) == 4
    assert_everything_once(server, online, results)


def test_online_everything_arrives_once(server: WandbServer, online: Sweep, results: Path) -> None:
    assert len(publish(online, results).published) == 4
    assert_everything_once(server, online, results)
    assert len(publish(online, results).unchanged) == 4
