"""The stage that trains: checkpoints, resumed and diverged runs, provenance."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from nfa.stages.aggregate import aggregate
from nfa.stages.measure import measure
from nfa.stages.options import StageOptions
from nfa.stages.probe import probe
from nfa.stages.train import train
from nfa.storage.checkpoints import load_tensors
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")


def test_checkpoints_are_the_run_at_their_steps(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, _ = trained
    for step in (0, 30):
        tensors, metadata = load_tensors(paths.checkpoint(1, step), {})
        assert metadata == {"cell": sweep.cells[0].id, "seed": "1", "step": str(step)}
        assert set(tensors) == {"hidden0.weight", "hidden1.weight", "readout.weight"}
    history = pd.read_parquet(paths.history).query("seed == 1 and split == 'train' and metric == 'loss'")
    assert history["value"].iloc[-1] < history["value"].iloc[0]


def test_a_deleted_checkpoint_is_trained_again(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = trained
    before = paths.checkpoint(0, 30).read_bytes()
    paths.checkpoint(0, 30).unlink()
    train(sweep, sweep.cells[0], StageOptions(results, CPU))
    assert paths.checkpoint(0, 30).read_bytes() == before


def test_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nfa.training import TrainingRun

    sweep = tiny_sweep()
    cell = sweep.cells[1]
    train(sweep, cell, StageOptions(tmp_path / "whole", CPU))
    advance = TrainingRun.advance

    def interrupted(run: TrainingRun) -> None:
        if run.step == 17 and run.seed == 1:
            raise KeyboardInterrupt
        advance(run)

    monkeypatch.setattr(TrainingRun, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(sweep, cell, StageOptions(tmp_path / "cut", CPU, save_seconds=0))
    monkeypatch.setattr(TrainingRun, "advance", advance)
    train(sweep, cell, StageOptions(tmp_path / "cut", CPU, save_seconds=0))
    whole, cut = (SweepPaths(tmp_path / name / sweep.name).cell(cell.id) for name in ("whole", "cut"))
    assert whole.history.read_bytes() == cut.history.read_bytes()
    for step in cell.train.checkpoint_steps(200):
        assert whole.checkpoint(1, step).read_bytes() == cut.checkpoint(1, step).read_bytes()
    assert not list((cut.state / "train").glob("*/*.resume.safetensors"))


def test_a_run_that_diverges_at_once_is_a_result_too(tmp_path: Path) -> None:
    model = [{"name": "mlp", "depth": 20, "width": 12, "init_scale": 1e4}]
    sweep = tiny_sweep(model=model, seeds=1, optimizer=[{"name": "sgd"}])
    for cell in sweep.cells:
        for stage in (train, measure, probe):
            stage(sweep, cell, StageOptions(tmp_path, CPU))
    paths = SweepPaths(tmp_path / sweep.name).cell(sweep.cells[0].id)
    alignment = pd.read_parquet(paths.alignment)
    assert set(alignment["step"]) == {0}
    assert (alignment.loc[alignment["value"].isna(), "note"] != "").all()
    summary = aggregate(sweep, tmp_path)
    assert set(summary.diverged) == {cell.id for cell in sweep.cells}


def test_provenance_is_of_the_training(trained: tuple[Sweep, CellPaths, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, paths, results = trained
    before = json.loads(paths.cell.read_text())
    monkeypatch.setattr("nfa.stages.train.provenance", lambda: {"commit": "later"})
    more = parse({**sweep.document, "seeds": 3}, "tiny.yaml")
    train(more, more.cells[0], StageOptions(results, CPU))
    after = json.loads(paths.cell.read_text())
    assert after["provenance"] == before["provenance"]
    assert after["runs"]["0"] == before["runs"]["0"]
    assert after["runs"]["2"]["provenance"]["commit"] == "later"
