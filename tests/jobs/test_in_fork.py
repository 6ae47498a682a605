"""Work in a fork is done when the body of the `with` statement is left, and its error is raised unchanged."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nfa.errors import UserError
from nfa.jobs.in_fork import running_in_fork
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


KILLED = """
import os, time
from nfa.jobs.in_fork import running_in_fork

def work():
    print(os.getpid(), flush=True)
    time.sleep(60)

with running_in_fork(work):
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")
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
