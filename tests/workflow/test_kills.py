"""Kills at random times: afterwards the same command ends with the same bytes."""

import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from nfa.jobs.exit_codes import PREEMPTED
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.sweep.grid import parse
from tests.helpers import nfa, tiny
from tests.workflow.snakemake import Workflow
from tests.workflow.stages import OUTPUTS, STAGES, Stage, differing
from tests.workflow.test_workflow import table_bytes

DOCUMENT = tiny(
    data=[{"name": "fashion_mini", "n_train": 500, "n_test": 100}],
    model=[{"name": "mlp", "depth": 2, "width": 32}],
    optimizer=[{"name": "adam", "lr": 0.01}],
    train={"steps": 600, "batch_size": 64, "checkpoints": 6},
    measure={"samples": 200},
)
# Seconds of work in each stage; two seeds of a network that is trained alone come one after the other.
LONGER = tiny(
    data=[{"name": "fashion_mini", "n_train": 2000, "n_test": 500}],
    model=[{"name": "conv", "depth": 2, "width": 6}],
    optimizer=[{"name": "adam", "lr": 0.01}],
    train={"steps": 300, "batch_size": 64, "checkpoints": 12},
    measure={"samples": 200},
)
MEASURED = ("alignment.parquet", "matrices.npz")
KILLS = 6  # of each stage; each costs a start of the command
DROPOUT = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))
"""


@dataclass(frozen=True)
class Undisturbed:
    """The cell of ``LONGER`` with every stage run undisturbed, and the seconds of loading and of work of each."""

    config: Path
    paths: CellPaths
    seconds: dict[str, tuple[float, float]]

    def elsewhere(self, results: Path) -> CellPaths:
        """Return the same cell in another folder."""
        return SweepPaths(results / "tiny").cell(self.paths.folder.name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    config = folder / "sweep.yaml"
    config.write_text(yaml.safe_dump(LONGER))
    paths = SweepPaths(folder / "tiny").cell(parse(LONGER, "x").cells[0].id)
    seconds = {}
    for name in STAGES:
        stage = Stage(name, config, folder, paths)
        process, begun = stage.started_work(), time.monotonic()
        stage.wait_for_progress(process, (0, 0))
        loading = time.monotonic() - begun
        _, messages = process.communicate(timeout=300)
        assert process.returncode == 0, messages
        seconds[name] = loading, time.monotonic() - begun - loading
    return Undisturbed(config, paths, seconds)


@pytest.mark.slow
def test_stages_killed_at_random_instants_end_with_the_same_bytes(undisturbed: Undisturbed, tmp_path: Path) -> None:
    cut = undisturbed.elsewhere(tmp_path)
    draw = random.Random(0)
    for name in STAGES:
        loading, working = undisturbed.seconds[name]
        stage = Stage(name, undisturbed.config, tmp_path, cut)
        seen: list[tuple[int, int]] = []
        while len(seen) < KILLS:
            before, process = stage.progress(), stage.started_work()
            if len(seen) % 5 == 4:
                time.sleep(draw.uniform(0, loading))
            else:  # work goes on from where it was, so that short stretches come through all of it
                stage.wait_for_progress(process, before)
                time.sleep(draw.uniform(0, 2 * working / KILLS))
            process.send_signal(signal.SIGKILL)
            _, messages = process.communicate()
            if process.returncode == -signal.SIGKILL:
                seen.append(stage.progress())
            else:  # it was done before: once more, from nothing
                assert process.returncode == 0, messages
                stage.forget()
        print(f"{name}: {loading:.1f} s until a first saving, {working:.1f} s after it")
        print(f"cut off at (finished seeds, steps or checkpoints saved) {seen}")
        assert len(set(seen)) >= KILLS / 2, seen
        stage.finish()
    assert differing(undisturbed.paths, cut) == []
    assert not [path for path in cut.folder.rglob("*") if ".tmp" in path.name or "resume" in path.name]


@pytest.mark.slow
def test_a_network_with_dropout_killed_and_resumed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "dropping_models.py").write_text(DROPOUT)
    document = {**LONGER, "model": [{"name": "dropping_models:make"}], "train": {"steps": 800, "checkpoints": 3}}
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(document))
    plan = nfa("expand", config, "--tsv", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    folders = [tmp_path / name for name in ("whole", "cut")]
    whole, cut = (SweepPaths(folder / "tiny").cell(plan.stdout.splitlines()[1].split("\t")[0]) for folder in folders)
    Stage("train", config, folders[0], whole).finish(cwd=tmp_path)
    stage = Stage("train", config, folders[1], cut)
    for _ in range(2):
        before, process = stage.progress(), stage.started_work(cwd=tmp_path)
        stage.wait_for_progress(process, before)
        time.sleep(0.2)
        process.kill()
        process.communicate()
    assert stage.progress() < (2, 0)
    assert "resumed at step" in stage.finish(cwd=tmp_path)
    assert differing(whole, cut, ("history.parquet",)) == []


@pytest.mark.slow
@pytest.mark.parametrize(("cores", "names"), [(1, STAGES), (2, ("train", "measure"))])
def test_told_to_stop_a_stage_saves_and_goes_on_to_the_same_bytes(
    cores: int, names: Sequence[str], undisturbed: Undisturbed, tmp_path: Path
) -> None:
    cut = undisturbed.elsewhere(tmp_path)
    for name in names:
        stage = Stage(name, undisturbed.config, tmp_path, cut, cores)
        process = stage.started_work()
        process.terminate()  # while it loads: there is nothing to save
        _, messages = process.communicate(timeout=60)
        assert process.returncode == PREEMPTED, messages
        assert len(messages.splitlines()) == 1
        assert messages.startswith("nfa: ")
        assert "told to stop; finished" in messages
        process = stage.started_work()
        stage.wait_for_progress(process, (0, 0))
        process.terminate()
        _, messages = process.communicate(timeout=60)
        assert process.returncode == PREEMPTED, messages
        said = messages.splitlines()[-1]
        assert said.startswith(f"nfa: {name} {cut.folder.name}")
        assert said.endswith("the same command goes on from there")
        assert "Traceback" not in messages
        assert not getattr(cut, {"train": "cell", "measure": "alignment", "probe": "probes"}[name]).exists()
        saved = stage.progress()
        assert saved > (0, 0)
        messages = stage.finish()
        assert name != "train" or cores > 1 or f"resumed at step {saved[1]}" in messages
    assert differing(undisturbed.paths, cut, OUTPUTS if "probe" in names else ("history.parquet", *MEASURED)) == []


@pytest.mark.slow
def test_snakemake_killed_again_and_again_ends_complete_and_equal(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("whole", "cut")}
    for folder in folders.values():
        folder.mkdir()
    whole, cut = (Workflow(folder, {**DOCUMENT, "seeds": 3}) for folder in folders.values())
    whole.finished()
    draw = random.Random(1)
    for number in range(4):
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
