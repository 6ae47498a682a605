"""A disk that is full or read-only: one line of error, no damaged file, and the same bytes once there is room."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from nfa.cli.main import run
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.sweep.cells import Sweep
from tests.helpers import environment, tiny, tiny_sweep
from tests.workflow.stages import STAGES, differing

KEPT = "; finished work is kept, the same command goes on from it\n"


def mount(*arguments: object) -> bool:
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() or not mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", folder):
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def config_of(folder: Path) -> tuple[Path, Sweep]:
    document = tiny(optimizer=[{"name": "sgd", "lr": 0.1}], data=[{"name": "chain_monomial", "dim": 8, "rank": 3}])
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(document))
    return path, tiny_sweep(**document)


def cell_in(results: Path, sweep: Sweep) -> CellPaths:
    return SweepPaths(results / sweep.name).cell(sweep.cells[0].id)


def leave_free(disk: Path, kib: int) -> None:
    """Fill the disk except for some KiB."""
    room = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(room.f_bavail * room.f_bsize - 1024 * kib, 0)))


def test_a_full_disk_stops_every_stage_and_costs_nothing(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, sweep = config_of(tmp_path)
    for stage in STAGES:
        stopped = 0
        for kib in (12, 28, 60, 4):
            leave_free(disk, kib)
            if run([stage, str(config), "--results", str(disk), "--save-every", "0"]) == 2:
                stopped += 1
                error = capsys.readouterr().err.splitlines(keepends=True)[-1]
                assert error.startswith(f"nfa: {disk}/tiny/"), error
                assert error.endswith(f": No space left on device{KEPT}")
                assert not [path for path in disk.rglob("*") if ".tmp" in path.name]
            (disk / "filler").unlink()
        assert stopped, stage
        assert run([stage, str(config), "--results", str(disk)]) == 0
        assert run([stage, str(config), "--results", str(tmp_path / "whole")]) == 0
    assert differing(cell_in(tmp_path / "whole", sweep), cell_in(disk, sweep)) == []


def test_a_permission_lost_on_the_way_is_one_line(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, sweep = config_of(tmp_path)
    assert run(["train", str(config), "--results", str(disk)]) == 0
    assert mount("-o", "remount,ro", disk)
    capsys.readouterr()
    assert run(["measure", str(config), "--results", str(disk)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nfa: ")
    assert error.endswith(f"Read-only file system{KEPT}")
    assert error.count("\n") == 1
    assert mount("-o", "remount,rw", disk)
    assert run(["measure", str(config), "--results", str(disk)]) == 0
    assert cell_in(disk, sweep).alignment.exists()


def test_a_limit_on_the_size_of_files_is_one_line(tmp_path: Path) -> None:
    config, sweep = config_of(tmp_path)
    command = f"ulimit -f 1; exec {sys.executable} -m nfa train {config} --results {tmp_path}"
    done = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith(f": File too large{KEPT}")
    assert "Traceback" not in done.stderr
    assert not cell_in(tmp_path, sweep).cell.exists()
