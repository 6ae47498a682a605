"""`nfa status` and `nfa report` for a sweep that is not finished."""

import json
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from nfa.storage.atomic import write_text
from nfa.storage.documents import write_plan
from nfa.storage.finished_seeds import Parts
from nfa.storage.paths import SweepPaths
from nfa.storage.status import status
from nfa.storage.tables import read_table
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import load
from tests.fake_results import rewrite_cell, write
from tests.helpers import nfa, tiny, tiny_sweep

TRAIN = {"steps": 10_000, "batch_size": 32, "checkpoints": 3}


@pytest.fixture
def half(tmp_path: Path) -> tuple[Sweep, SweepPaths]:
    """Four cells: done, measured but not probed, failed in training, not begun."""
    sweep = tiny_sweep(train=TRAIN)
    paths = write(sweep, tmp_path)
    write_plan(sweep, paths)
    _, measured, failed, new = (paths.cell(cell.id) for cell in sweep.cells)
    for cell in sweep.cells[:2]:
        for stage, stage_hash in sweep.hashes(cell).items():
            for seed in sweep.seeds:
                part = Parts(paths.cell(cell.id), stage, stage_hash)
                if (stage, part.paths) != ("probe", measured):
                    write_text(part.file(seed, "json"), json.dumps({"seconds": 2.0, "files": {}}))
    measured.probes.unlink()
    for here in (failed, new):
        for path in (here.cell, here.history, here.alignment, here.matrices, here.probes):
            path.unlink()
    log = paths.folder / "logs" / "train" / f"{failed.folder.name}.log"
    write_text(log, "10:00:00 train x seed 0: resumed\nnfa: train x: out of memory; give train.batch_size below 32\n")
    log = paths.folder / "logs" / "probe" / f"{measured.folder.name}.log"
    write_text(log, "nfa: told to stop; finished work is kept, the same command goes on from it\n")
    return sweep, paths


def test_counts_reasons_and_time(half: tuple[Sweep, SweepPaths]) -> None:
    sweep, paths = half
    found = status(paths.folder)
    assert found.counts["train"] == {"done": 2, "running": 0, "failed": 1, "to go": 1}
    assert found.counts["measure"] == {"done": 2, "running": 0, "failed": 0, "to go": 2}
    assert found.counts["probe"] == {"done": 1, "running": 0, "failed": 0, "to go": 3}  # told to stop is no failure
    ((stage, cell, reason, log),) = found.failed
    assert (stage, cell) == ("train", sweep.cells[2].id)
    assert reason == "train x: out of memory; give train.batch_size below 32"
    assert log.exists()
    assert found.seconds is not None
    # 10 parts took 20 s; 14 are to go, of cells of like size.
    assert 14 < found.seconds < 56


def test_a_failure_is_told_of_the_stage_whose_log_it_is(half: tuple[Sweep, SweepPaths]) -> None:
    sweep, paths = half
    here = paths.cell(sweep.cells[1].id)
    log = paths.folder / "logs" / "probe" / f"{here.folder.name}.log"
    write_text(log, "nfa: probe x: out of memory; give probe.samples below 50\n")
    found = status(paths.folder)
    assert [(stage, cell) for stage, cell, _, _ in found.failed] == [
        ("probe", sweep.cells[1].id),
        ("train", sweep.cells[2].id),
    ]
    assert found.counts["train"] == {"done": 2, "running": 0, "failed": 1, "to go": 1}
    assert found.counts["measure"] == {"done": 2, "running": 0, "failed": 0, "to go": 2}
    assert found.counts["probe"] == {"done": 1, "running": 0, "failed": 1, "to go": 2}
    assert f"log: {log}" in "\n".join(found.lines())
    # Finished work without its tables is still a job to run.
    paths.cell(sweep.cells[0].id).probes.unlink()
    assert status(paths.folder).counts["probe"] == {"done": 0, "running": 0, "failed": 1, "to go": 3}


def test_a_held_lock_is_a_running_stage_and_is_left_alone(half: tuple[Sweep, SweepPaths]) -> None:
    sweep, paths = half
    lock = FileLock(paths.cell(sweep.cells[3].id).state / "train.lock")
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    with lock:
        found = status(paths.folder)
        assert found.counts["train"]["running"] == 1
        assert "to go with 1 job at work" in found.lines()[-1]
    assert status(paths.folder).counts["train"]["running"] == 0


def test_a_diverged_run_is_done_and_named(half: tuple[Sweep, SweepPaths]) -> None:
    sweep, paths = half
    document = json.loads(paths.cell(sweep.cells[0].id).cell.read_text())
    document["runs"]["1"] |= {"status": "diverged", "last_step": 7}
    rewrite_cell(paths.cell(sweep.cells[0].id), document)
    found = status(paths.folder)
    assert found.diverged == [(sweep.cells[0].id, "1", 7)]
    assert found.counts["train"]["failed"] == 1


def test_the_commands(half: tuple[Sweep, SweepPaths], tmp_path: Path) -> None:
    sweep, paths = half
    told = nfa("status", paths.folder)
    assert told.returncode == 0, told.stderr
    assert f"failed: train {sweep.cells[2].id}: train x: out of memory" in told.stdout
    made = nfa("report", paths.folder)
    assert made.returncode == 0, made.stderr
    assert "1 of 4 cells is done" in made.stdout
    assert list(read_table(paths.folder / "so-far" / "tables" / "cells_summary.parquet")["cell"]) == [sweep.cells[0].id]
    assert "3 other cells not finished" in (paths.folder / "so-far" / "report.html").read_text()
    assert not paths.report.exists()
    for verb in ("status", "report"):
        wrong = nfa(verb, tmp_path / "none")
        assert wrong.returncode == 2
        assert "no sweep was started here" in wrong.stderr
        assert wrong.stderr.count("\n") == 1


def test_a_table_that_was_removed_afterwards_is_missing(tmp_path: Path) -> None:
    sweep = tiny_sweep(train=TRAIN)
    paths = write(sweep, tmp_path)
    write_plan(sweep, paths)
    for cell in sweep.cells:
        for stage, stage_hash in sweep.hashes(cell).items():
            for seed in sweep.seeds:
                part = Parts(paths.cell(cell.id), stage, stage_hash)
                write_text(part.file(seed, "json"), json.dumps({"seconds": 2.0, "files": {}}))
    assert status(paths.folder).lines()[-1] == "all cells are done"
    paths.cell(sweep.cells[0].id).probes.unlink()
    said = "nothing is left to compute, but 1 table is missing: the stage's own command joins it again"
    assert status(paths.folder).lines()[-1] == said


def test_a_table_with_a_damaged_body_is_not_done(half: tuple[Sweep, SweepPaths]) -> None:
    sweep, paths = half
    here = paths.cell(sweep.cells[0].id)
    content = bytearray(here.alignment.read_bytes())
    content[len(content) // 4] ^= 1  # of a column; the end of the file, with the stamp, is as it was
    here.alignment.write_bytes(content)
    found = status(paths.folder)
    assert found.counts["measure"] == {"done": 1, "running": 0, "failed": 0, "to go": 3}
    (line,) = found.damaged
    assert line == f"{here.alignment}; run `nfa measure {paths.plan} --cells {here.folder.name}`"
    assert f"damaged: {line}" in found.lines()


def test_a_stage_without_its_second_file_is_not_done(half: tuple[Sweep, SweepPaths]) -> None:
    sweep, paths = half
    here = paths.cell(sweep.cells[0].id)
    here.matrices.unlink()
    here.cell.write_text("{}")
    found = status(paths.folder)
    assert [found.counts[stage]["done"] for stage in ("train", "measure", "probe")] == [1, 1, 1]
    (line,) = found.damaged
    assert line.startswith(f"{here.cell}; run `nfa train ")


def test_the_state_is_printed_without_the_data_file(tmp_path: Path) -> None:
    config, data = tmp_path / "own.yaml", tmp_path / "own.csv"
    data.write_text("a,b,target\n" + "".join(f"{i % 7},{i % 5},{i % 3}.5\n" for i in range(60)))
    entry = {"name": "file", "path": str(data), "test_share": 0.2}
    config.write_text(yaml.safe_dump(tiny(sweep="own", data=[entry])))
    sweep = load(config)
    paths = write(sweep, tmp_path / "results")
    write_plan(sweep, paths)
    paths.cell(sweep.cells[1].id).probes.unlink()
    data.unlink()
    printed = nfa("status", paths.folder, cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    assert lines[0] == "own: 2 cells that have begun x 2 seeds"
    assert lines[1].startswith("other cells are not known, and settings were not compared: own.yaml: data[0]: ")
    assert f"{data}: no such file" in lines[1]
    assert [line.split() for line in lines[2:6]] == [
        ["stage", "done", "running", "failed", "to", "go"],
        ["train", "2", "0", "0", "0"],
        ["measure", "2", "0", "0", "0"],
        ["probe", "1", "0", "0", "1"],
    ]
    assert printed.stderr == ""
