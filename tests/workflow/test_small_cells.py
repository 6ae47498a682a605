"""A small cell, whose stages are one job: nothing is computed twice when one of them fails or is to run again."""

from pathlib import Path

from nfa.stages.small import cell_patterns
from nfa.storage.paths import SweepPaths
from nfa.sweep.grid import parse
from tests.helpers import nfa, tiny
from tests.workflow.snakemake import Workflow

DOCUMENT = tiny(
    data=[{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64}],
    optimizer=[{"name": "adam", "lr": 0.01}],
)
CELLS = ("--until", "small_cell")


def test_a_failed_stage_costs_no_finished_one_and_a_new_setting_trains_nothing(tmp_path: Path) -> None:
    sweep = parse(DOCUMENT, "x")
    (cell,) = sweep.cells
    assert cell_patterns(sweep) == ("[^/]+", "(?!)")
    workflow = Workflow(tmp_path, DOCUMENT)
    here = SweepPaths(workflow.results).cell(cell.id)
    log = workflow.results / "logs" / "small_cell" / f"{cell.id}.log"
    here.state.mkdir(parents=True)
    (here.state / "probe").write_text("")  # in the way of the probes' folder
    failed = workflow.run(*CELLS)
    assert failed.returncode == 1, failed.stdout
    assert "nfa: " in log.read_text()
    for path in (here.cell, here.history, here.alignment, here.matrices, here.probes):
        assert not path.exists(), "Snakemake deletes the outputs of a failed job"
    told = nfa("status", workflow.results).stdout
    assert f"failed: probe {cell.id}: " in told
    assert f"(log: {log})" in told
    assert told.count("failed: ") == 1

    (here.state / "probe").unlink()
    finished = parts(here.folder, "train", "measure")
    assert len(finished) > 4
    done = workflow.run(*CELLS)
    assert done.returncode == 0, done.stdout
    assert parts(here.folder, "train", "measure") == finished
    assert log.read_text().count("finished before") == 2 * len(sweep.seeds)
    assert "small_cell" not in workflow.planned(*CELLS)

    workflow.write({**DOCUMENT, "probe": {"kind": "ridge", "samples": 60}})
    assert workflow.planned(*CELLS)["small_cell"] == 1
    done = workflow.run(*CELLS)
    assert done.returncode == 0, done.stdout
    assert parts(here.folder, "train", "measure") == finished
    assert log.read_text().count("finished before") == 2 * len(sweep.seeds)


def parts(folder: Path, *stages: str) -> dict[str, int]:
    """Modification time of every finished part of some stages, and of every checkpoint."""
    files = [
        *folder.glob("checkpoints/*/*"),
        *(file for stage in stages for file in folder.glob(f".state/{stage}/*/*")),
    ]
    return {str(file): file.stat().st_mtime_ns for file in files}
