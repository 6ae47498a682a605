"""The profile for Slurm, tested without a Slurm."""

import math
import os
import runpy
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from nfa.import_server.hand_over import VARIABLE
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import STAGES
from nfa.sweep.estimate import estimate
from nfa.sweep.grid import parse
from tests.helpers import ROOT, environment, nfa, tiny
from tests.workflow.snakemake import Workflow

PROFILES = {
    name: yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text()) for name in ("default", "slurm")
}
DOCUMENT = tiny(
    data=[{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64}],
    optimizer=[{"name": "sgd", "lr": 0.1}],
)


def test_the_slurm_profile_repeats_the_default_one_which_it_replaces() -> None:
    default, slurm = PROFILES["default"], PROFILES["slurm"]
    assert {key: slurm[key] for key in default if key != "default-resources"} == {
        key: value for key, value in default.items() if key != "default-resources"
    }
    assert default["default-resources"].items() <= slurm["default-resources"].items()


@pytest.mark.parametrize(("cells", "submissions"), [(1, 3), (3, 1)])
def test_the_stages_of_a_cell_or_of_several_are_one_job(cells: int, submissions: int, tmp_path: Path) -> None:
    workflow = Workflow(tmp_path, {**DOCUMENT, "optimizer": [{"name": "sgd", "lr": [0.1, 0.2, 0.3]}]})
    assert workflow.planned()["train"] == 3
    together = ("--group-components", f"cell={cells}")
    planned = workflow.run("-n", "--workflow-profile", str(ROOT / "profiles" / "slurm"), *together)
    assert planned.returncode == 0, planned.stdout
    assert planned.stdout.count("Group job cell") == submissions


@pytest.mark.parametrize(("steps", "least"), [(30, 10), (5_000_000, 100)])
def test_memory_and_time_double_with_each_attempt(steps: int, least: int, tmp_path: Path) -> None:
    sweep = parse(tiny(train={"steps": steps, "batch_size": 32}, seeds=2), "x")
    elsewhere = SimpleNamespace(is_main_process=False)  # a job on another machine: the files are plain Python
    rules = runpy.run_path(
        str(ROOT / "workflow" / "rules" / "common.smk"),
        {"SWEEP": sweep, "PATHS": SweepPaths(tmp_path), "workflow": elsewhere},
    )
    wildcards = SimpleNamespace(cell=sweep.cells[-1].id)
    minutes = max(10, math.ceil(2 * estimate(sweep, sweep.cells[-1]).seconds / 60))
    assert minutes >= least
    memory = rules["memory"](2000)
    assert [memory(wildcards, attempt, threads=1) for attempt in (1, 2, 3)] == [2000, 4000, 8000]
    assert memory(wildcards, 1, threads=3) == 6000  # three seeds side by side
    assert [rules["cell_minutes"](wildcards, attempt) for attempt in (1, 2, 3)] == [minutes, 2 * minutes, 4 * minutes]
    assert [rules["sweep_minutes"](wildcards, attempt) for attempt in (1, 2)] == [31, 62]


@pytest.mark.slow
def test_cells_computed_one_by_one_elsewhere_are_found_finished(tmp_path: Path) -> None:
    # As docs/cluster.md tells those whose scheduler has no plugin that fits.
    workflow = Workflow(tmp_path, {**DOCUMENT, "train": [{"steps": 30}, {"steps": 40}]})
    assert workflow.planned()["train"] == 2
    for line in nfa("expand", workflow.config, "--tsv").stdout.splitlines()[1:]:
        for stage in STAGES:
            # Forks of one import server, whose owner is this process: it imports for all six.
            done = nfa(
                stage, workflow.config, "--cells", line.split("\t")[0], cwd=tmp_path, **{VARIABLE: str(os.getpid())}
            )
            assert done.returncode == 0, done.stderr
    assert workflow.planned() == {"aggregate": 1, "publish_runs": 1, "publish": 1, "all": 1, "total": 4}


HIDDEN = """
import pkgutil

found = pkgutil.iter_modules
pkgutil.iter_modules = lambda *a, **k: (m for m in found(*a, **k) if m.name != "snakemake_executor_plugin_slurm")
"""


def test_what_snakemake_says_without_the_plugin_is_in_the_page_and_in_the_profile(tmp_path: Path) -> None:
    # It says so before it reads the Snakefile, so the words are its own; ours say what to install.
    (tmp_path / "sitecustomize.py").write_text(HIDDEN)
    workflow = Workflow(tmp_path, DOCUMENT)
    command = workflow.command("-n", "--workflow-profile", str(ROOT / "profiles" / "slurm"))
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(command, env=environment(PYTHONPATH=path), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    words = "argument --executor/-e: invalid choice: 'slurm'"
    assert words in done.stderr
    page, profile = ((ROOT / file).read_text() for file in ("docs/cluster.md", "profiles/slurm/config.yaml"))
    told = page[page.index(words) :].partition("\n\n")[0]
    assert "pip install snakemake-executor-plugin-slurm" in told
    assert "invalid choice: 'slurm'" in profile
