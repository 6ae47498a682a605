"""Jobs that the import server forks: they give the same bytes, status, messages and signals as fresh processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from nfa.import_server.hand_over import VARIABLE, _fits, _folder
from nfa.jobs.exit_codes import INTERRUPTED, PREEMPTED, UNPUBLISHED
from nfa.storage.paths import SweepPaths
from nfa.sweep.grid import parse
from tests.helpers import environment, tiny, tiny_sweep
from tests.workflow.stages import STAGES, differing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")
COMMAND = [sys.executable, "-m", "nfa"]


@pytest.fixture(scope="module")
def owner() -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process that stands for Snakemake."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def job(owner: "subprocess.Popen[bytes]", *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, *map(str, arguments)]
    more = {VARIABLE: str(owner.pid)}
    return subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=120)


def test_the_stages_in_forks_write_the_bytes_and_messages_of_fresh_processes(
    owner: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    document = tiny()
    for optimizer, data in zip(document["optimizer"], document["data"], strict=True):
        optimizer["for"] = {"data": data["name"]}
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(document))
    for stage in STAGES:
        forked = job(owner, stage, config, "--results", tmp_path / "forked")
        assert forked.returncode == 0, forked.stderr
        fresh = subprocess.run(
            [*COMMAND, stage, str(config), "--results", str(tmp_path / "fresh")],
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert fresh.returncode == 0
        assert len(forked.stderr.splitlines()) == len(fresh.stderr.splitlines())
    assert Path(_folder(str(owner.pid)), "socket").exists(), "the import server was not used"
    cells = parse(document, "x").cells
    assert len(cells) == 2
    for cell in cells:
        one, other = (SweepPaths(tmp_path / name / "tiny").cell(cell.id) for name in ("forked", "fresh"))
        assert differing(one, other) == []
        assert one.cell.read_bytes() == other.cell.read_bytes()


def test_mistakes_and_signals_come_through(owner: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(tiny(seeds=1, train={"steps": 200_000, "batch_size": 32})))
    wrong = job(owner, "train", config, "--results", tmp_path, "--cells", "nothing")
    assert wrong.returncode == 2
    assert "no cell 'nothing'" in wrong.stderr
    cell = tiny_sweep(seeds=1, train={"steps": 200_000, "batch_size": 32}).cells[0].id
    command = [*COMMAND, "train", str(config), "--results", str(tmp_path), "--cells", cell]
    process = subprocess.Popen(
        command, env=environment(**{VARIABLE: str(owner.pid)}), stderr=subprocess.PIPE, text=True
    )
    while len(list(tmp_path.glob("tiny/*/checkpoints/*/step-*"))) < 2:  # it is in its loop
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == PREEMPTED, messages
    assert "told to stop; saved at step" in messages


@pytest.fixture
def group() -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process that stands for a Snakemake which lets its jobs end, in a group of its own."""
    process = subprocess.Popen(["sh", "-c", "trap '' INT TERM; exec sleep 600"], process_group=0)
    yield process
    process.kill()
    process.wait()


def begin_long(group: "subprocess.Popen[bytes]", folder: Path) -> "subprocess.Popen[str]":
    changed = {"seeds": 1, "train": {"steps": 200_000, "batch_size": 32}}
    config = folder / "sweep.yaml"
    config.write_text(yaml.safe_dump(tiny(**changed)))
    command = [*COMMAND, "train", str(config), "--results", str(folder), "--cells", tiny_sweep(**changed).cells[0].id]
    more = {VARIABLE: str(group.pid)}
    return subprocess.Popen(
        command,
        env=environment(**more),
        stderr=subprocess.PIPE,
        text=True,
        process_group=group.pid,
        preexec_fn=heed_interrupts,
    )


def heed_interrupts() -> None:
    """Restore the handling of Ctrl-C, which a shell switches off in background processes such as these tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_signal_to_all_of_a_snakemakes_processes_stops_the_jobs_well(
    group: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    process = begin_long(group, tmp_path)
    while len(list(tmp_path.glob("tiny/*/checkpoints/*/step-*"))) < 2:  # it is in its loop
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(group.pid, signal.SIGTERM)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == PREEMPTED, messages
    assert "told to stop; saved at step" in messages


def test_an_interrupt_before_a_fork_takes_the_job_ends_it(group: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    process = begin_long(group, tmp_path)
    while not Path(_folder(str(group.pid)), "socket").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.5)  # it waits for the fork, and the imports before that take longer
    os.killpg(group.pid, signal.SIGINT)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in messages


def test_the_server_ends_with_its_snakemake(owner: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    folder = Path(_folder(str(owner.pid)))
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(tiny()))
    assert job(owner, "train", config, "--cells", "nothing").returncode == 2
    assert folder.exists()
    owner.kill()
    owner.wait()
    deadline = time.monotonic() + 120
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_an_owner_that_lives_the_command_works_by_itself(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(tiny()))
    assert job(dead, "train", config, "--cells", "nothing").returncode == 2
    assert not Path(_folder(str(dead.pid))).exists()


def test_short_verbs_use_a_server_and_start_none(tmp_path: Path) -> None:
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(tiny()))
    with subprocess.Popen(["sleep", "600"]) as fresh:
        socket = Path(_folder(str(fresh.pid)), "socket")
        alone = job(fresh, "show", tmp_path)
        assert not socket.parent.exists()
        assert job(fresh, "train", config, "--results", tmp_path).returncode == 0
        assert socket.exists()
        forked = job(fresh, "show", tmp_path)
        assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)
        assert alone.returncode == 2
        assert job(fresh, "publish", config, "--results", tmp_path).returncode == UNPUBLISHED  # no cell is finished
        fresh.kill()
    published = json.loads(SweepPaths(tmp_path / "tiny").published.read_text())
    assert published["incomplete"].keys() == {cell.id for cell in tiny_sweep().cells}
    assert not published["unsent"]


def test_other_threads_and_other_verbs_are_not_handed_over() -> None:
    assert _fits(["train", "x.yaml", "--threads", "1"])
    assert not _fits(["train", "x.yaml", "--threads", "2"])
    assert _fits(["publish", "x.yaml"])
    assert not _fits(["expand", "x.yaml"])
    assert not _fits([])
    assert VARIABLE not in os.environ
