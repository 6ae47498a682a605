"""Snakemake and a job that was told to stop and exits with status 75."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.helpers import tiny
from tests.workflow.snakemake import Workflow, wait_for
from tests.workflow.test_workflow import table_bytes

DOCUMENT = tiny(
    data=[{"name": "fashion_mini", "n_train": 500, "n_test": 100}],
    model=[{"name": "conv", "depth": 1, "width": 4}],
    optimizer=[{"name": "adam", "lr": 0.01}],
    train={"steps": 2500, "batch_size": 32, "checkpoints": 8},
    measure={"samples": 20},
    probe={"kind": "ridge", "kernel": "none", "rfm": 0},
    seeds=1,
)


def job_of(workflow: Workflow, stage: str) -> int:
    """Return the process id of the command of a stage."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
            here = os.readlink(entry.parent / "cwd")
        except OSError:
            continue
        if (
            here == str(workflow.folder)
            and words[0].rpartition(b"/")[2].startswith(b"python")
            and stage.encode() in words[:4]
        ):
            return int(entry.parent.name)
    raise AssertionError(f"{stage} does not run in {workflow.folder}")


def trains(workflow: Workflow) -> bool:
    """Return True once a run has written two checkpoints (not counting temporary files), so that its loop has begun."""
    return len(list(workflow.results.glob("*/checkpoints/*/step-*"))) > 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the job's process as Linux shows it")
def test_a_job_told_to_stop_fails_in_snakemake_or_is_retried_and_goes_on(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("once", "retried", "whole")}
    for folder in folders.values():
        folder.mkdir()
    once, retried, whole = (Workflow(folder, DOCUMENT) for folder in folders.values())
    for workflow, options in ((once, ()), (retried, ("--retries", "1"))):
        process = workflow.start(*options, "--until", "train", cores=1)
        wait_for(partial(trains, workflow), process)
        os.kill(job_of(workflow, "train"), signal.SIGTERM)
        code = process.wait(timeout=120)
        log = (workflow.folder / "snakemake.log").read_text()
        assert "told to stop; saved at step" in log  # failed logs are shown
        assert code == (1 if workflow is once else 0), log
        assert len(list(workflow.results.glob("*/cell.json"))) == code ^ 1
    for workflow in (whole, once, retried):
        workflow.finished()
    (log_file,) = once.results.glob("logs/train/*.log")
    assert "resumed at step" in log_file.read_text()
    tables = [table_bytes(workflow.results) for workflow in (whole, once, retried)]
    assert tables[0].keys() == tables[1].keys() == tables[2].keys()
    assert [name for name in tables[0] if not tables[0][name] == tables[1][name] == tables[2][name]] == []
