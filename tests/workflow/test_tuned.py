"""A sweep whose learning rates are tuned, through the real Snakemake: searched once, trained and published."""

import json
from pathlib import Path

import pandas as pd
import pytest

from nfa.storage.paths import SweepPaths
from nfa.storage.status import status
from nfa.sweep.grid import parse
from tests.helpers import nfa, tiny
from tests.tracking.reading import Logged
from tests.workflow.snakemake import Workflow

DOCUMENT = tiny(
    data=[{"name": "fashion_mini", "n_train": 200, "n_test": 100}],
    model=[{"name": "mlp", "depth": 1, "width": 8}],
    optimizer=[{"name": "sgd", "lr": {"tune": [0.001, 1]}}, {"name": "adam", "lr": 0.01}],
    tune={"points": 4, "seeds": 1},
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Run the sweep once for the tests of this module, which only add to it."""
    workflow = Workflow(tmp_path_factory.mktemp("tuned"), DOCUMENT)
    counts = workflow.planned()
    assert (counts["tune"], counts["train"], counts["measure"], counts["probe"]) == (1, 2, 2, 2)
    workflow.finished()
    return workflow


def test_the_value_that_was_found_is_in_tables_labels_page_and_runs(done: Workflow) -> None:
    tuned, plain = parse(DOCUMENT, "x").cells
    paths = SweepPaths(done.results)
    found = json.loads(paths.cell(tuned.id).tuned.read_text())["found"]["lr"]
    assert 0.001 <= found <= 1
    cells = pd.read_csv(paths.cells, sep="\t").set_index("cell")
    assert cells.loc[tuned.id, "optimizer.lr"] == found
    assert cells.loc[plain.id, "optimizer.lr"] == 0.01
    summary = pd.read_parquet(paths.tables / "cells_summary.parquet").set_index("cell")
    assert f"sgd (tuned: lr {found:g})" in str(summary.loc[tuned.id, "label"])
    tuning = pd.read_parquet(paths.tables / "tuning.parquet")
    assert tuning[["cell", "setting", "value"]].to_numpy().tolist() == [[tuned.id, "optimizer.lr", found]]
    trials = pd.read_parquet(paths.tables / "tuning_trials.parquet")
    assert trials["trial"].nunique() == tuning["trials"].iloc[0]
    page = paths.report.read_text()
    assert "How were the tuned settings chosen?" in page
    assert (paths.figures / "tuning.png").exists()
    runs = json.loads(paths.published.read_text())["runs"]
    assert set(runs) == {f"{cell}/seed-{seed}" for cell in (tuned.id, plain.id) for seed in (0, 1)} | {
        f"{tuned.id}/tune",
        "sweep/summary",
    }
    assert Logged(paths.wandb / runs[f"{tuned.id}/seed-0"]["folder"]).config["optimizer"]["lr"] == found
    run = Logged(paths.wandb / runs[f"{tuned.id}/tune"]["folder"])
    assert run.run["job_type"] == "tune"
    assert run.summary["tuning/lr"] == run.config["optimizer"]["lr"] == found
    table = pd.DataFrame(run.table("trials"))
    best = table.iloc[table["validation_loss"].astype(float).argmin()]
    assert best["lr"] == found
    assert best["validation_loss"] == pytest.approx(run.summary["tuning/validation_loss"])


def test_afterwards_there_is_nothing_to_do(done: Workflow) -> None:
    assert "Nothing to be done" in done.run().stdout


def test_the_status_counts_searches(done: Workflow) -> None:
    found = status(done.results)
    assert found.counts["tune"] == {"done": 1, "running": 0, "failed": 0, "to go": 0}
    assert list(found.counts) == ["tune", "train", "measure", "probe"]
    tuned = SweepPaths(done.results).cell(parse(DOCUMENT, "x").cells[0].id).tuned
    kept = tuned.read_bytes()
    tuned.write_text("damaged")
    try:
        found = status(done.results)
        assert found.counts["tune"]["to go"] == 1
        assert found.seconds is not None
        assert found.seconds > 0
    finally:
        tuned.write_bytes(kept)


def test_what_is_searched_again(done: Workflow) -> None:
    """Other settings of the search make the tuned cell again, and only it; a lost file is written again."""
    done.write({**DOCUMENT, "tune": {"points": 3, "seeds": 1}})
    counts = done.planned()
    done.write(DOCUMENT)
    assert (counts["tune"], counts["train"], counts["measure"], counts["probe"]) == (1, 1, 1, 1)
    paths = SweepPaths(done.results).cell(parse(DOCUMENT, "x").cells[0].id)
    files = [paths.tuned, paths.trials, paths.history, paths.alignment]
    before, moment = [file.read_bytes() for file in files], paths.checkpoint(0, 30).stat().st_mtime_ns
    paths.tuned.unlink()
    written = nfa("tune", done.config, "--results", done.results.parent)
    assert written.returncode == 0, written.stderr
    assert "found before" in written.stderr
    assert [file.read_bytes() for file in files] == before
    assert paths.checkpoint(0, 30).stat().st_mtime_ns == moment


def test_another_sweep_takes_the_search_from_this_one(done: Workflow, tmp_path: Path) -> None:
    other = {**DOCUMENT, "sweep": "other", "seeds": 1, "optimizer": DOCUMENT["optimizer"][:1]}
    done.write(other)
    try:
        done.finished()
        (log,) = (done.results / "logs" / "tune").iterdir()
        assert "found before" in log.read_text()
    finally:
        done.write(DOCUMENT)
