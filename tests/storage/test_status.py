"""A sweep that is not done: what `nfa status` and `nfa report` make of its files."""

import json
from pathlib import Path

import pytest
from filelock import FileLock

from nfa.storage.atomic import write_text
from nfa.storage.documents import write_plan
from nfa.storage.parts import Parts
from nfa.storage.paths import SweepPaths
from nfa.storage.status import status
from nfa.storage.tables import read_table
from nfa.sweep.cells import Sweep
from tests.fake_results import rewrite_cell, write
from tests.helpers import nfa, tiny_sweep

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
    assert "1 of 4 cells are done" in made.stdout
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
