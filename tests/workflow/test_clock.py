"""A wrong clock: files with times in the future, and results that are older than their inputs."""

import os
import time
from pathlib import Path

import pytest

from tests.helpers import tiny
from tests.workflow.snakemake import Workflow
from tests.workflow.test_workflow import table_bytes

DOCUMENT = tiny(
    data=[{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64}],
    model=[{"name": "mlp", "depth": 1, "width": 8}],
    optimizer=[{"name": "sgd", "lr": 0.1}],
    wandb={"mode": "disabled"},
)


@pytest.mark.slow
def test_files_from_the_future_cost_no_result_and_train_nothing_again(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path, DOCUMENT)
    workflow.finished()
    before = table_bytes(workflow.results)
    (cell,) = workflow.results.glob("*/cell.json")
    checkpoints = {path: path.stat().st_mtime_ns for path in cell.parent.glob("checkpoints/*/*")}
    ahead = time.time() + 3600
    for path in (cell, cell.parent / "history.parquet"):
        os.utime(path, (ahead, ahead))
    done = workflow.run()
    assert "Traceback" not in done.stdout
    assert done.returncode == 0, done.stdout
    assert table_bytes(workflow.results) == before
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
