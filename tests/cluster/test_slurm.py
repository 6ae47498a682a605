"""A reduced default sweep on a real Slurm gives the same bytes as on one machine, whatever goes wrong meanwhile."""

import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from nfa.sweep.cells import STAGES
from nfa.sweep.grid import parse
from tests.cluster.slurm import NODES, Slurm, wait_until
from tests.cluster.sweep import PROFILE, WAIT, ClusterSweep
from tests.helpers import ROOT
from tests.workflow.snakemake import Workflow
from tests.workflow.test_workflow import table_bytes

pytestmark = pytest.mark.slow


def reduced() -> dict[str, Any]:
    """Return the default sweep with one optimizer, smaller networks and fewer seeds, steps and samples: three cells."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    document |= {"seeds": 2, "optimizer": [entry for entry in document["optimizer"] if entry["name"] == "sgd"]}
    mlp, conv = document["model"]
    mlp.update(depth=2, width=32)
    conv.update(width=6)
    for train in document["train"]:
        train.update(steps=300, checkpoints=2)
    document["measure"].update(samples=50, early=50)
    document["probe"].update(samples=200, kernel_samples=50)
    return document


DOCUMENT = reduced()
IMAGES, CONV, CHAIN = (cell.id for cell in parse(DOCUMENT, "x").cells)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Run the sweep on this machine."""
    workflow = Workflow(tmp_path_factory.mktemp("local"), DOCUMENT)
    workflow.finished()
    return workflow


@pytest.fixture
def sweep(tmp_path: Path, slurm: Slurm, local: Workflow) -> ClusterSweep:
    """Return the sweep on Slurm, not started yet."""
    return ClusterSweep(tmp_path / "sweep", DOCUMENT, slurm)


def complete_and_equal(sweep: ClusterSweep, local: Workflow) -> None:
    """Check that the bytes are those of the local run, and that no finished part was computed again."""
    ours, theirs = table_bytes(sweep.results), table_bytes(local.results)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert (sweep.results / "report.html").exists()
    assert sweep.computed_twice() == []


def test_undisturbed(sweep: ClusterSweep, local: Workflow) -> None:
    process = sweep.start()
    sweep.end(process)
    complete_and_equal(sweep, local)
    numbers = sweep.slurm.cells()
    for cell in (IMAGES, CONV, CHAIN):
        assert sweep.slurm.stages(numbers[cell]) == {(stage, cell) for stage in STAGES}, "one submission for a cell"
    jobs = [sweep.slurm.job(number) for number in sweep.slurm.jobs()]
    assert len(jobs) == 6, "one for each cell, aggregate, and two that publish"
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert sweep.planned() == {}


def test_jobs_killed_preempted_out_of_memory_and_out_of_time(sweep: ClusterSweep, local: Workflow) -> None:
    slurm, before = sweep.slurm, set(sweep.slurm.jobs())
    little = f"200 * 8 ** (attempt - 1) if '{CHAIN}' == wildcards.cell else 2000 * 2 ** (attempt - 1)"
    process = sweep.start("--set-resources", *(f"{stage}:mem_mb={little}" for stage in STAGES))
    first = {}
    waiting = {IMAGES, CONV}
    while waiting:
        sweep.wait(lambda: any(sweep.trains(cell) for cell in waiting), process)
        cell = next(cell for cell in waiting if sweep.trains(cell))
        waiting.remove(cell)
        number = first[cell] = slurm.cells()[cell]
        if cell == IMAGES:
            slurm.signal(number, signal.SIGKILL)
        else:
            slurm.signal(number, signal.SIGSTOP)  # it trains until it is preempted: then Slurm continues and ends it
            node = slurm.job(number)["NodeList"]
            slurm.command(
                "sbatch", "--partition=urgent", f"--nodelist={node}", "--mem=100", "--wrap=sleep 1", "-o/dev/null"
            )
    # What was killed comes back, with twice the time; it stands still until that has run out too.
    sweep.wait(lambda: slurm.cells()[IMAGES] != first[IMAGES], process)
    second = slurm.cells()[IMAGES]
    assert [slurm.job(number)["TimeLimit"] for number in (first[IMAGES], second)] == ["00:30:00", "01:00:00"]
    sweep.wait(lambda: slurm.signal(second, signal.SIGSTOP), process)
    slurm.command("scontrol", "update", f"JobId={second}", "EndTime=now+1second")
    sweep.end(process)
    complete_and_equal(sweep, local)
    states = {number: state for number, state in slurm.jobs().items() if number not in before}
    assert (states[first[IMAGES]], states[second]) == ("FAILED", "TIMEOUT")
    assert "resumed at step" in (sweep.results / "logs" / "train" / f"{CONV}.log").read_text()
    log = sweep.log()
    assert "Exceeded job memory limit" in log, "the error shows Slurm's log"
    assert f"log: results/default/logs/train/{IMAGES}.log (check log file(s) for error details)" in log


def test_snakemake_killed_the_controller_restarted_and_a_node_lost(sweep: ClusterSweep, local: Workflow) -> None:
    slurm, before = sweep.slurm, set(sweep.slurm.jobs())
    process = sweep.start()
    sweep.wait(lambda: all(slurm.jobs_on(node) for node in NODES), process)
    (lost,) = slurm.jobs_on("beta")
    sweep.wait(lambda: slurm.signal(lost, signal.SIGSTOP), process)  # it stands still until its node is lost
    sweep.wait(lambda: any(sweep.trains(cell) for cell in (IMAGES, CONV, CHAIN)), process)
    process.kill()
    process.wait()
    orphans = set(slurm.jobs("-t", "R,PD")) - before
    assert len(orphans) == 3, "jobs go on without Snakemake"
    process = sweep.start()
    sweep.wait(lambda: len(set(slurm.jobs()) - before - orphans) >= 3 and sweep.submitted(), process)
    slurm.stop_controller()
    assert slurm.jobs() == {}, "no answer, for as long as squeue tries"
    slurm.start_controller()
    sweep.wait(lambda: slurm.jobs_on("beta") == [lost], process)
    slurm.fail("beta")
    try:
        sweep.wait(lambda: slurm.job(lost)["Restarts"] == "1", process)
        sweep.end(process)
        wait_until(lambda: not slurm.jobs("-t", "R,PD,CG"), "jobs are left over")
        job = slurm.job(lost)
        assert (job["JobState"], job["NodeList"]) == ("COMPLETED", "alpha")
    finally:
        slurm.start_node("beta")
    complete_and_equal(sweep, local)
    assert sweep.planned() == {}


def test_gpu_cells_ask_for_gpus_and_an_interrupt_cancels_the_jobs(sweep: ClusterSweep, tmp_path: Path) -> None:
    profile = tmp_path / "gpus"
    profile.mkdir()
    text = (PROFILE / "config.yaml").read_text().replace("# gpu: ", "").replace(".vgg11", ".conv")
    (profile / "config.yaml").write_text(text)
    assert set(yaml.safe_load(text)["set-resources"]) == {"train", "measure", "probe"}
    slurm, before = sweep.slurm, set(sweep.slurm.jobs())
    sweep.profile = profile
    process = sweep.start()
    sweep.wait(lambda: len(set(slurm.jobs()) - before) == 3, process)
    asked = {cell: slurm.job(number) for cell, number in slurm.cells().items() if number not in before}
    assert {cell: job.get("TresPerJob") for cell, job in asked.items()} == {
        IMAGES: None,
        CHAIN: None,
        CONV: "gres:gpu:1",
    }
    assert {cell: job["Partition"] for cell, job in asked.items()} == {IMAGES: "normal", CHAIN: "normal", CONV: "gpu"}
    process.send_signal(signal.SIGINT)
    process.wait(timeout=WAIT)
    wait_until(lambda: not slurm.jobs("-t", "R,PD,CG"), "jobs are left over")
    assert {slurm.jobs()[job["JobId"]] for job in asked.values()} == {"CANCELLED"}
