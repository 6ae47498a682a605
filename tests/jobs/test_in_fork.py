"""Work in a fork is done when the body of the `with` statement is left, and its error is raised unchanged."""

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from nfa.errors import UserError
from nfa.jobs.in_fork import running_in_fork, side_by_side
from tests.helpers import environment


def test_it_is_done_when_the_body_is_left(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "x").write_text("done")

    with running_in_fork(work):
        done = "body"
    assert done == "body"
    assert (tmp_path / "x").exists()


def test_its_error_is_raised_here_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="the disk is full"), running_in_fork(fail):
        pass
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_body_ends_it(tmp_path: Path) -> None:
    """It ends at once, also where SIGTERM is handled: a stage notes it and goes on, and a fork inherits its handler."""

    def work() -> None:
        time.sleep(10)
        (tmp_path / "x").write_text("done")

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(KeyError), running_in_fork(work):
            raise KeyError
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not (tmp_path / "x").exists()


linux = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")


@linux
def test_tasks_run_side_by_side_and_a_failure_leaves_the_others(tmp_path: Path) -> None:
    """The second task waits for a file that the first writes after the third has begun: two at a time, in order."""

    def task(number: int) -> None:
        (tmp_path / f"begun{number}").touch()
        if number == 1:
            raise UserError("left undone")
        if number == 0:
            while not (tmp_path / "begun2").exists():
                time.sleep(0.01)
        (tmp_path / f"done{number}").touch()

    side_by_side([partial(task, number) for number in range(3)], 2, lambda: False)
    assert sorted(file.name for file in tmp_path.glob("done*")) == ["done0", "done2"]


def test_one_at_a_time_needs_no_fork(tmp_path: Path) -> None:
    side_by_side([(tmp_path / "x").touch] * 2, 1, lambda: False)
    side_by_side([(tmp_path / "x").touch], 2, lambda: False)
    assert not list(tmp_path.iterdir())


@linux
def test_told_to_stop_forks_end_and_no_other_begins(tmp_path: Path) -> None:
    """A task that handles SIGTERM saves its work; one that does not ends at once, though the process ignores it."""

    def saving() -> None:
        stopped: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
        (tmp_path / "ready").touch()
        while not stopped:
            time.sleep(0.01)
        (tmp_path / "saved").touch()

    def sleeping() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        (tmp_path / "asleep").touch()
        time.sleep(60)

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    began = time.monotonic()
    try:
        last = tmp_path / "last"
        side_by_side([saving, sleeping, last.touch], 2, lambda: (tmp_path / "asleep").exists())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - began < 30
    assert (tmp_path / "saved").exists()
    assert not last.exists()


KILLED = """
import os, time
from nfa.jobs.in_fork import running_in_fork, side_by_side

def work():
    print(os.getpid(), flush=True)
    time.sleep(60)

with running_in_fork(work):
    time.sleep(60)
"""


@linux
def test_a_kill_ends_both() -> None:
    """A fork that survives its parent would write at the same time as the next attempt."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        process.kill()
        deadline = time.monotonic() + 30
        while _runs(fork):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _runs(process: int) -> bool:
    """Return True if a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
