"""Results that do not fit the sweep file: copied without the records of Snakemake, or with records of other results."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nfa.storage.tables import read_stamp
from nfa.sweep.cells import STAGES
from nfa.sweep.grid import load
from tests.helpers import nfa, tiny
from tests.workflow.snakemake import Workflow

DOCUMENT = tiny(
    data=[{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64}],
    model=[{"name": "mlp", "depth": 1, "width": 8}],
    optimizer=[{"name": "sgd", "lr": 0.1}],
    train={"steps": 10, "batch_size": 32, "checkpoints": 2},
    probe={"kind": "ridge", "kernel": "none", "rfm": 0},
    wandb={"mode": "disabled"},
)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Run a sweep of one cell to its end."""
    workflow = Workflow(tmp_path_factory.mktemp("origin"), DOCUMENT)
    workflow.finished()
    return workflow


def copied(origin: Workflow, folder: Path, document: dict[str, Any], memory: bool) -> Workflow:
    """Copy the results, with or without the records of Snakemake, next to another sweep file."""
    workflow = Workflow(folder, document)
    shutil.copytree(origin.folder / "results", folder / "results")
    if memory:
        shutil.copytree(origin.folder / ".snakemake", folder / ".snakemake")
    return workflow


def content(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file except the logs of Snakemake."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".snakemake/log" not in str(path)]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def check_tables(workflow: Workflow) -> None:
    """Check that all files fit the sweep file and that nothing is left to do."""
    sweep = load(workflow.config)
    assert json.loads((workflow.results / "provenance.json").read_text())["config"] == sweep.document
    assert set(pd.read_parquet(workflow.results / "tables" / "runs.parquet")["cell"]) == {c.id for c in sweep.cells}
    alignment = pd.read_parquet(workflow.results / "tables" / "alignment.parquet")
    assert set(alignment["cell"]) == {cell.id for cell in sweep.cells}
    assert set(alignment["seed"]) == set(sweep.seeds)
    for cell in sweep.cells:
        for stage, table in (("measure", "alignment"), ("probe", "probes")):
            stamp = read_stamp(workflow.results / cell.id / f"{table}.parquet")
            assert stamp["hash"] == sweep.hashes(cell)[stage]
    assert load(workflow.results / ".plan.json").document == sweep.document
    told = nfa("status", workflow.results, cwd=workflow.folder)
    assert (told.returncode, told.stderr) == (0, "")
    assert workflow.planned() == {}


def test_copied_results_of_the_same_sweep_file_are_not_made_again(origin: Workflow, tmp_path: Path) -> None:
    workflow = copied(origin, tmp_path, DOCUMENT, memory=False)
    assert workflow.planned() == {}


OTHERS: dict[str, dict[str, Any]] = {
    "a measure setting": {"measure": {"samples": 40}},
    "another cell": {"optimizer": [{"name": "sgd", "lr": 0.2}]},
    "more seeds": {"seeds": 3},
    "fewer seeds": {"seeds": 1},
    "a place of publication": {"wandb": {"mode": "disabled", "project": "other"}},
}
# Stages of the cell that run again; all of them after the other changes.
MADE_AGAIN: dict[str, set[str]] = {
    "a measure setting": {"measure"},
    "fewer seeds": set(),
    "a place of publication": set(),
}


IN_THE_FAST_TIER = ("a measure setting", "fewer seeds")  # each change costs three starts of Snakemake


@pytest.mark.parametrize(
    "change", [name if name in IN_THE_FAST_TIER else pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]
)
def test_stale_results_are_made_again(origin: Workflow, tmp_path: Path, change: str) -> None:
    workflow = copied(origin, tmp_path, DOCUMENT | OTHERS[change], memory=False)
    before = content(tmp_path / "results")
    planned = workflow.planned()
    assert planned["aggregate"] == planned["publish"] == planned["publish_runs"] == 1
    assert {stage for stage in STAGES if stage in planned} == MADE_AGAIN.get(change, set(STAGES))
    assert content(tmp_path / "results") == before, "planning wrote something"
    for verb in ("status", "show"):  # the plan and the tables are still the old ones
        told = nfa(verb, workflow.results, cwd=tmp_path)
        assert told.returncode == 0
        assert "sweep.yaml: the sweep file has changed since" in told.stderr
        assert told.stderr.count("\n") == 1
    workflow.finished()
    check_tables(workflow)


@pytest.mark.slow
def test_results_put_in_the_place_of_others_are_found_though_snakemake_remembers(
    origin: Workflow, tmp_path: Path
) -> None:
    """The records of Snakemake belong to this sweep file, but the files belong to another one."""
    workflow = Workflow(tmp_path, DOCUMENT | OTHERS["a measure setting"])
    workflow.finished()
    assert workflow.planned() == {}
    shutil.rmtree(tmp_path / "results")
    shutil.copytree(origin.folder / "results", tmp_path / "results")
    planned = workflow.planned()
    assert {stage for stage in STAGES if stage in planned} == {"measure"}
    workflow.finished()
    check_tables(workflow)


@pytest.mark.slow
def test_tables_of_a_sweep_file_that_was_aggregated_by_hand_are_found(origin: Workflow, tmp_path: Path) -> None:
    workflow = copied(origin, tmp_path, DOCUMENT, memory=True)
    assert workflow.planned() == {}
    workflow.write(DOCUMENT | {"seeds": 1})
    assert nfa("aggregate", workflow.config, cwd=tmp_path).returncode == 0
    workflow.write(DOCUMENT)
    told = nfa("show", workflow.results, cwd=tmp_path)
    assert "tables and report are of an earlier state" in told.stderr
    assert workflow.planned().keys().isdisjoint(STAGES)
    workflow.finished()
    check_tables(workflow)


def test_another_sweep_file_of_the_same_name_is_refused(origin: Workflow, tmp_path: Path) -> None:
    workflow = copied(origin, tmp_path, DOCUMENT, memory=True)
    before = content(tmp_path / "results")
    first, workflow.config = workflow.config, tmp_path / "second.yaml"
    workflow.write(DOCUMENT | {"seeds": 1})
    for options in ((), ("-n",)):
        refused = workflow.run(*options)
        assert refused.returncode == 2
        (said,) = [line for line in refused.stdout.splitlines() if line.startswith("nfa: ")]
        assert said.startswith("nfa: second.yaml: results/tiny holds the results of another sweep file, sweep.yaml")
        assert "`sweep: OTHER`" in said
        assert "--config sweep=OTHER" in said
    for verb in ("train", "aggregate", "publish"):
        refused = nfa(verb, "second.yaml", cwd=tmp_path)
        assert (refused.returncode, "another sweep file, sweep.yaml" in refused.stderr) == (2, True)
        assert "--config" not in refused.stderr
    assert content(tmp_path / "results") == before
    assert workflow.planned("--config", "sweep=other")["aggregate"] == 1
    workflow.write({**DOCUMENT, "train": {"batch_size": 32, "steps": 10, "checkpoints": 2}})  # the same sweep
    assert workflow.run("-n").returncode == 0
    workflow.write(DOCUMENT | {"seeds": 1})
    first.rename(tmp_path / "away.yaml")  # renamed: nobody else's results any more
    assert workflow.planned()["aggregate"] == 1
    (tmp_path / "away.yaml").rename(first)
    first.write_text(first.read_text().replace("sweep: tiny", "sweep: another"))
    assert workflow.planned()["aggregate"] == 1


def test_a_renamed_sweep_file_is_remembered(origin: Workflow, tmp_path: Path) -> None:
    workflow = copied(origin, tmp_path, DOCUMENT, memory=True)
    workflow.config = workflow.config.rename(tmp_path / "renamed.yaml")
    assert "it is not known if it has changed" in nfa("status", workflow.results, cwd=tmp_path).stderr
    planned = workflow.planned()
    assert planned["aggregate"] == 1
    assert planned.keys().isdisjoint(STAGES)
    workflow.finished()
    check_tables(workflow)
    assert json.loads((workflow.results / "provenance.json").read_text())["config_file"] == "renamed.yaml"


def test_a_sweep_without_a_name_has_that_of_its_file(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path, DOCUMENT)
    workflow.config = tmp_path / "my study.yaml"
    workflow.write({key: value for key, value in DOCUMENT.items() if key != "sweep"})
    refused = workflow.run("-n")
    assert refused.returncode == 2
    assert "my study.yaml: sweep: missing, and the file's own name 'my study' cannot name a folder" in refused.stdout
    workflow.config = workflow.config.rename(tmp_path / "study.yaml")
    assert workflow.run("--until", "train").returncode == 0
    assert (tmp_path / "results" / "study" / ".plan.json").exists()
    assert not (tmp_path / "results" / "default").exists()
