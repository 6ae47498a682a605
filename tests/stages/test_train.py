"""The stage that trains: checkpoints, resumed and diverged runs, provenance."""

import json
from pathlib import Path
from typing import Any

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


UNTIL: dict[str, Any] = {
    "steps": 400,
    "batch_size": 16,
    "checkpoints": 3,
    "until": {"train_loss": 0.05},
    "checkpoints_at_loss": [0.08],
}
SMALL_IMAGES = [{"name": "fashion_mini", "n_train": 48, "n_test": 20}]
STACKED = {"name": "mlp", "width": 64, "depth": 1}
ALONE = {"name": "conv", "width": 2, "depth": 1}


Files = tuple[dict[str, Any], pd.DataFrame, dict[str, bytes]]


def stopping(model: dict[str, object], seeds: list[int], **train: object) -> Sweep:
    """A sweep of one cell whose seeds stop at different steps."""
    optimizer = [{"name": "adam", "lr": 0.003}]
    return tiny_sweep(data=SMALL_IMAGES, model=[model], optimizer=optimizer, seeds=seeds, train={**UNTIL, **train})


def trained_files(sweep: Sweep, results: Path, seed: int) -> Files:
    """The record of a run without its provenance, its history, and its checkpoints."""
    paths = SweepPaths(results / sweep.name).cell(sweep.cells[0].id)
    run = json.loads(paths.cell.read_text())["runs"][str(seed)]
    del run["provenance"]
    history = pd.read_parquet(paths.history).query("seed == @seed").reset_index(drop=True)
    folder = paths.checkpoint(seed, 0).parent
    return run, history, {path.name: path.read_bytes() for path in folder.iterdir()}


def same(first: Files, second: Files) -> bool:
    return first[0] == second[0] and first[1].equals(second[1]) and first[2] == second[2]


@pytest.mark.parametrize("model", [STACKED, ALONE], ids=["stacked", "alone"])
def test_a_run_stops_at_the_first_look_at_which_its_loss_is_reached(tmp_path: Path, model: dict[str, object]) -> None:
    from nfa.training import TrainingRun, load_data

    sweep = stopping(model, [0, 1, 2])
    cell = sweep.cells[0]
    train(sweep, cell, StageOptions(tmp_path, CPU))
    ends = set()
    for seed in sweep.seeds:
        record, history, checkpoints = trained_files(sweep, tmp_path, seed)
        run = TrainingRun(cell, seed, load_data(cell, seed, CPU))
        losses: dict[int, float] = {}
        while not losses or losses[run.step] > 0.05:
            run.advance()
            while run.step not in run.observed and run.step < run.total:
                run.advance()
            losses[run.step] = run._scores("train")["loss"]
        first = next(step for step, loss in losses.items() if loss <= 0.08)
        assert record["last_step"] == run.step < 400
        assert record["reached"] is True
        assert record["at_loss"] == [[0.08, first]]
        assert record["checkpoints"] == sorted({0, 1, 20, first, run.step} - {s for s in (1, 20) if s > run.step})
        assert len(checkpoints) == len(record["checkpoints"])
        scores = history.query("split == 'train' and metric == 'loss'").set_index("step")["value"]
        assert scores.index[-1] == run.step
        assert scores.iloc[-1] == pytest.approx(losses[run.step], rel=1e-5)
        ends.add(run.step)
    assert len(ends) > 1


@pytest.mark.parametrize("model", [STACKED, ALONE], ids=["stacked", "alone"])
def test_runs_that_stop_are_the_same_alone_and_after_any_kill(
    tmp_path: Path, model: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nfa.training import TrainingRun
    from nfa.training.together import Together

    sweep = stopping(model, [0, 1, 2])
    cell = sweep.cells[0]
    train(sweep, cell, StageOptions(tmp_path / "whole", CPU))
    whole = {seed: trained_files(sweep, tmp_path / "whole", seed) for seed in sweep.seeds}
    for seed in sweep.seeds:
        single = stopping(model, [seed])
        train(single, cell, StageOptions(tmp_path / f"single{seed}", CPU))
        assert same(whole[seed], trained_files(single, tmp_path / f"single{seed}", seed))
    ends = sorted(whole[seed][0]["last_step"] for seed in sweep.seeds)
    assert len(set(ends)) == 3
    kind = Together if model is STACKED else TrainingRun
    advance = kind.advance
    kills = [3, ends[0] - 1, ends[0], ends[0] + 1, ends[1], ends[2] - 1]

    def killed(self: object) -> object:
        if kills and self.step == kills[0]:  # type: ignore[attr-defined]
            kills.pop(0)
            raise KeyboardInterrupt
        return advance(self)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "advance", killed)
    options = StageOptions(tmp_path / "cut", CPU, save_seconds=0)
    for _ in list(kills):
        with pytest.raises(KeyboardInterrupt):
            train(sweep, cell, options)
    train(sweep, cell, options)
    for seed in sweep.seeds:
        assert same(whole[seed], trained_files(sweep, tmp_path / "cut", seed))


def test_a_run_that_does_not_reach_its_loss_is_marked(tmp_path: Path) -> None:
    sweep = stopping(STACKED, [0, 1], steps=30, checkpoints_at_loss=[0.085, 0.05])
    train(sweep, sweep.cells[0], StageOptions(tmp_path, CPU))
    for seed in sweep.seeds:
        record, *_ = trained_files(sweep, tmp_path, seed)
        assert (record["status"], record["reached"], record["last_step"]) == ("finished", False, 30)
        assert [loss for loss, _ in record["at_loss"]] == [0.085]


def test_a_run_stops_at_a_training_accuracy(tmp_path: Path) -> None:
    sweep = stopping(STACKED, [0], until={"train_accuracy": 0.5}, checkpoints_at_loss=None)
    train(sweep, sweep.cells[0], StageOptions(tmp_path, CPU))
    record, history, _ = trained_files(sweep, tmp_path, 0)
    accuracy = history.query("split == 'train' and metric == 'accuracy'")["value"]
    assert accuracy.iloc[-1] >= 0.5 > accuracy.iloc[:-1].max()
    assert record["reached"] is True
    assert "at_loss" not in record


def test_a_loss_is_seen_soon_after_it_is_reached(tmp_path: Path) -> None:
    """Where a few samples decide when to look at all, weights are kept within a few percent of the loss asked for."""
    data, losses = [{"name": "fashion_mini", "n_train": 2000, "n_test": 20}], [0.08, 0.06, 0.05, 0.04]
    steps = {"steps": 400, "checkpoints": 1, "batch_size": 100, "checkpoints_at_loss": losses}
    sweep = tiny_sweep(data=data, model=[STACKED], optimizer=[{"name": "adam", "lr": 0.001}], train=steps)
    cell = sweep.cells[0]
    train(sweep, cell, StageOptions(tmp_path, CPU))
    history = pd.read_parquet(SweepPaths(tmp_path / sweep.name).cell(cell.id).history)
    scores = history.query("split == 'train' and metric == 'loss'").set_index(["seed", "step"])["value"]
    for seed in sweep.seeds:
        record, _, _ = trained_files(sweep, tmp_path, seed)
        assert [loss for loss, _ in record["at_loss"]] == losses
        for loss, step in record["at_loss"]:
            assert 0.94 * loss < scores[seed, step] <= loss
