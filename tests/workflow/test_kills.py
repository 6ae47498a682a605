"""Kills at random instants: whatever is cut off, the same command ends with the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nfa.paths import SweepPaths
from nfa.stages.preemption import PREEMPTED
from nfa.sweep import parse
from tests.helpers import environment, tiny
from tests.workflow.snakemake import Workflow
from tests.workflow.test_workflow import table_bytes

DOCUMENT = tiny(
    data=[{"name": "fashion_mini", "n_train": 500, "n_test": 100}],
    model=[{"name": "mlp", "depth": 2, "width": 32}],
    optimizer=[{"name": "adam", "lr": 0.01}],
    train={"steps": 600, "batch_size": 64, "checkpoints": 6},
    measure={"samples": 200},
)


def stage(name: str, config: Path, results: Path) -> "subprocess.Popen[bytes]":
    """Start one stage of all cells."""
    command = [sys.executable, "-m", "nfa.cli", name, str(config), "--results", str(results)]
    more = ["--save-every", "0.05"] if name == "train" else []
    return subprocess.Popen([*command, *more], env=environment(), stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_stages_killed_at_random_instants_end_with_the_same_bytes(tmp_path: Path) -> None:
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(DOCUMENT))
    cell = parse(DOCUMENT, "x").cells[0]
    draw = random.Random(0)
    kills = 0
    for results in (tmp_path / "whole", tmp_path / "cut"):
        for name in ("train", "measure", "probe"):
            # Interpreter and imports take about two seconds; the kills fall after them, in the work.
            for _ in range(10 if results.name == "cut" else 0):
                process = stage(name, config, results)
                time.sleep(draw.uniform(1.0, 4.0))
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                process.wait()
            assert stage(name, config, results).wait() == 0
    assert kills >= 10
    whole, cut = (SweepPaths(tmp_path / name / "tiny").cell(cell.id) for name in ("whole", "cut"))
    for file in ("history", "alignment", "matrices", "probes"):
        assert getattr(whole, file).read_bytes() == getattr(cut, file).read_bytes(), file
    for path in (whole.folder / "checkpoints").rglob("*.safetensors"):
        assert path.read_bytes() == (cut.folder / path.relative_to(whole.folder)).read_bytes(), path
    assert not [path for path in cut.folder.rglob("*") if ".tmp" in path.name]


@pytest.mark.slow
def test_told_to_stop_training_saves_and_goes_on(tmp_path: Path) -> None:
    document = {**DOCUMENT, "train": {"steps": 8000, "batch_size": 64, "checkpoints": 6}}
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(document))
    cell = parse(document, "x").cells[0]
    whole, cut = (SweepPaths(tmp_path / name / "tiny").cell(cell.id) for name in ("whole", "cut"))
    process = stage("train", config, tmp_path / "cut")
    while not list(cut.state.rglob("*.safetensors")):  # a state is saved: it is at work
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == PREEMPTED
    for name in ("cut", "whole"):
        assert stage("train", config, tmp_path / name).wait() == 0
    assert cut.history.read_bytes() == whole.history.read_bytes()
    for path in (whole.folder / "checkpoints").rglob("*.safetensors"):
        assert path.read_bytes() == (cut.folder / path.relative_to(whole.folder)).read_bytes(), path


@pytest.mark.slow
def test_snakemake_killed_again_and_again_ends_complete_and_equal(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("whole", "cut")}
    for folder in folders.values():
        folder.mkdir()
    whole, cut = (Workflow(folder, DOCUMENT) for folder in folders.values())
    whole.finished()
    draw = random.Random(1)
    for number in range(6):
        process = cut.start()
        time.sleep(draw.uniform(2.0, 12.0))
        if process.poll() is None:
            if number % 2:
                os.killpg(process.pid, signal.SIGKILL)  # everything, as a power cut
            else:
                process.kill()  # Snakemake alone: its jobs become orphans
        process.wait()
    cut.finished()
    first, second = table_bytes(whole.results), table_bytes(cut.results)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert cut.planned() == {}
