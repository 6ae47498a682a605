"""Private folders: no link is followed, and the folders of killed processes are removed."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nfa.import_server.hand_over import VARIABLE, _folder
from nfa.jobs.private_folder import YOUNG_SECONDS, remove_leftovers, start_time
from nfa.jobs.temporary_folder import own_temporary_folder
from tests.helpers import environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs share a process on Linux alone")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of temporary files for this test alone."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def owner() -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process that stands for Snakemake."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def job(owner: "subprocess.Popen[bytes]") -> "subprocess.Popen[str]":
    """Run a job that fails at once, in a process group of its own; the import server is in that group too."""
    command = [sys.executable, "-m", "nfa", "train", "no.yaml"]
    process = subprocess.Popen(
        command,
        env=environment(**{VARIABLE: str(owner.pid)}),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.communicate(timeout=120)[1].startswith("nfa: no.yaml: no such file")
    assert process.returncode == 2
    return process


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)


def precious(folder: Path) -> Path:
    """Make a folder of somebody else with files of the same names as ours."""
    folder.mkdir(mode=0o700)
    for name in ("socket", "lock", "thesis.tex"):
        (folder / name).write_text("years of work")
    return folder


def untouched(folder: Path) -> bool:
    return {file.name: file.read_text() for file in folder.iterdir()} == dict.fromkeys(
        ("socket", "lock", "thesis.tex"), "years of work"
    )


def left(owner: int, noted: str | None, age: float = 2 * YOUNG_SECONDS) -> Path:
    """Make a folder as a killed process leaves it."""
    folder = Path(_folder(str(owner)))
    folder.mkdir(mode=0o700)
    (folder / "socket").touch()
    if noted is not None:
        (folder / "lock").write_text(noted)
    os.utime(folder, (time.time() - age, time.time() - age))
    return folder


def dead() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_link_in_the_place_of_the_folder_is_not_followed(
    owner: "subprocess.Popen[bytes]", temporary: Path, tmp_path: Path
) -> None:
    theirs = precious(tmp_path / "theirs")
    Path(_folder(str(owner.pid))).symlink_to(theirs)
    job(owner)
    owner.kill()
    owner.wait()
    assert untouched(theirs)
    assert Path(_folder(str(owner.pid))).is_symlink()


def test_a_linked_lock_is_not_followed(owner: "subprocess.Popen[bytes]", temporary: Path, tmp_path: Path) -> None:
    theirs = precious(tmp_path / "theirs")
    folder = Path(_folder(str(owner.pid)))
    folder.mkdir(mode=0o700)
    (folder / "lock").symlink_to(theirs / "lock")
    job(owner)
    assert untouched(theirs)


def test_a_folder_that_is_open_to_others_is_not_used(owner: "subprocess.Popen[bytes]", temporary: Path) -> None:
    folder = Path(_folder(str(owner.pid)))
    folder.mkdir()
    folder.chmod(0o755)
    job(owner)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used_and_not_removed(
    owner: "subprocess.Popen[bytes]", temporary: Path
) -> None:
    folder = Path(_folder(str(owner.pid)))
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    job(owner)
    assert list(folder.iterdir()) == []
    foreign = left(dead(), "1")
    os.chown(foreign, 12345, 12345)
    remove_leftovers()
    assert (foreign / "lock").exists()


def test_the_next_snakemake_removes_the_folder_of_a_killed_one(
    owner: "subprocess.Popen[bytes]", temporary: Path
) -> None:
    killed = subprocess.Popen(["sleep", "600"])
    first = job(killed)
    folder = Path(_folder(str(killed.pid)))
    assert (folder / "socket").exists()
    os.killpg(first.pid, signal.SIGKILL)  # first, as it would remove the folder itself once its Snakemake is gone
    killed.kill()
    killed.wait()
    assert (folder / "socket").exists()
    second = job(owner)
    wait_for(lambda: not folder.exists())
    assert Path(_folder(str(owner.pid)), "socket").exists()
    os.killpg(second.pid, signal.SIGKILL)


def test_dead_folders_are_removed_and_no_other(
    owner: "subprocess.Popen[bytes]", temporary: Path, tmp_path: Path
) -> None:
    now = start_time(owner.pid)
    assert now is not None
    alive = left(owner.pid, now)
    remove_leftovers()
    assert (alive / "socket").exists(), "its Snakemake is alive"
    (alive / "lock").write_text("1")  # the process id was given again, to a process that began later
    remove_leftovers()
    assert not alive.exists()

    gone = left(dead(), None)
    remove_leftovers()
    assert not gone.exists(), "of an earlier version, or killed before it noted its Snakemake"

    held = left(dead(), "1")
    with (held / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_leftovers()
        assert (held / "socket").exists(), "a process works there"
    with_more = left(dead(), "1")
    (with_more / "notes.txt").write_text("not ours")
    unrelated = temporary / f"nfa-{os.getuid()}-notes"
    unrelated.mkdir(mode=0o700)
    theirs = precious(tmp_path / "theirs")
    Path(_folder(str(dead()))).symlink_to(theirs)
    work = temporary / f"nfa-{os.getuid()}-work-linked"
    work.symlink_to(theirs)
    os.utime(theirs, (0, 0))
    remove_leftovers()
    assert not held.exists()
    assert (with_more / "notes.txt").exists()
    assert unrelated.exists()
    assert untouched(theirs)


def test_temporary_files_of_a_killed_process_are_removed(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with own_temporary_folder():
        inside = Path(tempfile.mkdtemp())
        os.utime(inside.parent, (0, 0))
        remove_leftovers()
        assert inside.exists(), "it is in use"
    assert not inside.parent.exists()
    abandoned = temporary / f"nfa-{os.getuid()}-work-abc"
    (abandoned / "deep").mkdir(parents=True)
    abandoned.chmod(0o700)
    remove_leftovers()
    assert abandoned.exists(), "it is young: its lock may be about to be taken"
    os.utime(abandoned, (0, 0))
    remove_leftovers()
    assert not abandoned.exists()
