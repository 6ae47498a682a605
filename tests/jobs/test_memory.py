"""A staged lack of memory gives one line with the settings to change, exit code 2, and no half-written file."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from nfa.errors import UserError
from nfa.jobs.memory import enough_memory
from nfa.storage.paths import SweepPaths
from nfa.sweep.grid import parse
from tests.helpers import environment, nfa, tiny, tiny_sweep

DOCUMENT = tiny(
    data=[{"name": "fashion_mini", "n_train": 5000, "n_test": 1000}],
    optimizer=[{"name": "sgd", "lr": 0.1}],
    train={"steps": 3, "checkpoints": 1},
    seeds=1,
)
ADVICE = {"train": "train.batch_size below 128", "measure": "measure.samples below 50", "probe": "probe.samples below"}
# Imports come first, so that what is left is the stage's own; then the address space ends a little above it.
LIMITED = """
import resource, sys
import nfa.cli.main, nfa.stages.{stage}, sklearn.linear_model, torch._dynamo
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 30 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(nfa.cli.main.run(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_each_stage_out_of_memory_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(DOCUMENT))
    cell = parse(DOCUMENT, "x").cells[0]
    paths = SweepPaths(tmp_path / "tiny").cell(cell.id)
    for stage, output in (("train", paths.cell), ("measure", paths.alignment), ("probe", paths.probes)):
        arguments = [stage, str(config), "--results", str(tmp_path)]
        command = [sys.executable, "-c", LIMITED.format(stage=stage), *arguments]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=100)
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"nfa: {stage} {cell.id}: out of memory; give ")
        assert ADVICE[stage] in line
        assert not output.exists()
        assert not [path for path in paths.folder.rglob("*") if ".tmp" in path.name]
        again = nfa(*arguments)
        assert again.returncode == 0, again.stderr
        assert output.exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_every_way_to_say_it_is_understood(error: Exception) -> None:
    sweep = tiny_sweep(measure={"probes": 4, "samples": 100})
    advice = "give measure.estimator: sketched, measure.samples below 100, measure.probes below 4, a smaller model"
    with pytest.raises(UserError, match=advice) as told, enough_memory("measure", sweep, sweep.cells[0]):
        raise error
    assert "\n" not in str(told.value)


def test_other_errors_stay_what_they_are() -> None:
    sweep = tiny_sweep()
    with pytest.raises(RuntimeError, match="shapes"), enough_memory("train", sweep, sweep.cells[0]):
        raise RuntimeError("shapes do not fit")
