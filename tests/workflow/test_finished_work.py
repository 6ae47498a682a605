"""Finished work is found again after a failed stage, under a new setting, and in results of earlier rules."""

from pathlib import Path

import pytest

from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import STAGES
from nfa.sweep.grid import parse
from tests.helpers import nfa, tiny
from tests.workflow.snakemake import Workflow
from tests.workflow.test_workflow import table_bytes

DOCUMENT = tiny(
    data=[{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64}],
    optimizer=[{"name": "adam", "lr": 0.01}],
)
CELLS = ("--until", "measure", "probe")
# Version 0.1 had this rule for cells with little work: all stages were one job, which declared the files of all.
EARLIER = """
configfile: "sweep.yaml"
CELL = "results/tiny/{cell}/"
rule all:
    input: CELL.format(cell="%(cell)s") + "probes.parquet"
rule small_cell:
    output:
        cell=CELL + "cell.json",
        history=CELL + "history.parquet",
        alignment=CELL + "alignment.parquet",
        matrices=CELL + "matrices.npz",
        probes=CELL + "probes.parquet",
    log: "results/tiny/logs/small_cell/{cell}.log"
    params: plan="results/tiny/.plan.json", hash="%(hash)s", seeds="0 1"
    shell: "for stage in train measure probe; do python -m nfa $stage sweep.yaml --cells {wildcards.cell}; done 2>{log}"
"""


def test_a_failed_stage_costs_no_finished_one_and_a_new_setting_trains_nothing(tmp_path: Path) -> None:
    sweep = parse(DOCUMENT, "x")
    (cell,) = sweep.cells
    workflow = Workflow(tmp_path, DOCUMENT)
    here = SweepPaths(workflow.results).cell(cell.id)
    log = workflow.results / "logs" / "probe" / f"{cell.id}.log"
    here.state.mkdir(parents=True)
    (here.state / "probe").write_text("")  # in the way of the probes' folder
    failed = workflow.run(*CELLS)
    assert failed.returncode == 1, failed.stdout
    assert "nfa: " in log.read_text()
    assert not here.probes.exists(), "Snakemake deletes the outputs of a failed job"
    for path in (here.cell, here.history, here.alignment, here.matrices):
        assert path.exists()
    told = nfa("status", workflow.results).stdout
    assert f"failed: probe {cell.id}: " in told
    assert f"(log: {log})" in told
    assert told.count("failed: ") == 1

    (here.state / "probe").unlink()
    finished = parts(here.folder, "train", "measure")
    assert len(finished) > 4
    assert workflow.planned(*CELLS) == {"probe": 1, "total": 1}
    done = workflow.run(*CELLS)
    assert done.returncode == 0, done.stdout
    assert parts(here.folder, "train", "measure") == finished
    assert not any(workflow.planned(*CELLS).values())

    workflow.write({**DOCUMENT, "probe": {"kind": "ridge", "samples": 60}})
    assert workflow.planned(*CELLS) == {"probe": 1, "total": 1}
    done = workflow.run(*CELLS)
    assert done.returncode == 0, done.stdout
    assert parts(here.folder, "train", "measure") == finished


@pytest.mark.slow
def test_results_of_the_earlier_rule_for_small_cells_are_found_and_nothing_is_computed(tmp_path: Path) -> None:
    sweep = parse(DOCUMENT, "x")
    (cell,) = sweep.cells
    workflow = Workflow(tmp_path, DOCUMENT)
    earlier = tmp_path / "Snakefile"
    earlier.write_text(EARLIER % {"cell": cell.id, "hash": " ".join(sweep.hashes(cell).values())})
    made = workflow.run("--snakefile", str(earlier))
    assert made.returncode == 0, made.stdout
    assert "small_cell" in made.stdout
    here = SweepPaths(workflow.results).cell(cell.id)
    finished, tables = parts(here.folder, *STAGES), table_bytes(workflow.results)
    assert len(finished) > 6

    done = workflow.run(*CELLS)
    assert done.returncode == 0, done.stdout
    for stage in STAGES:  # each only joins the tables of its finished seeds again
        log = (workflow.results / "logs" / stage / f"{cell.id}.log").read_text()
        assert log.count("finished before") == len(sweep.seeds)
    assert parts(here.folder, *STAGES) == finished
    assert table_bytes(workflow.results) == tables
    assert not any(workflow.planned(*CELLS).values())


def parts(folder: Path, *stages: str) -> dict[str, int]:
    """Return the modification times of the finished parts of some stages and of the checkpoints."""
    files = [
        *folder.glob("checkpoints/*/*"),
        *(file for stage in stages for file in folder.glob(f".state/{stage}/*/*")),
    ]
    return {str(file): file.stat().st_mtime_ns for file in files}
