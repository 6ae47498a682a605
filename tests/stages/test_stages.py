"""Train, measure and probe on a small cell: finished work is kept, and damaged or foreign files are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from nfa.errors import UserError
from nfa.stages.aggregate import aggregate
from nfa.stages.measure import measure
from nfa.stages.probe import probe
from nfa.stages.train import train
from nfa.storage.arrays import read_arrays
from nfa.storage.checkpoints import load_tensors
from nfa.storage.checks import check_outputs
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from nfa.theory.early import early_arrays
from nfa.training import build_model, load_data
from nfa.training.materials import training_loss
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Sweep, CellPaths, Path]:
    """Train the first cell of the small sweep."""
    sweep = tiny_sweep()
    train(sweep, sweep.cells[0], tmp_path, CPU)
    return sweep, SweepPaths(tmp_path / sweep.name).cell(sweep.cells[0].id), tmp_path


def test_checkpoints_are_the_run_at_their_steps(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, _ = trained
    for step in (0, 30):
        tensors, metadata = load_tensors(paths.checkpoint(1, step), {})
        assert metadata == {"cell": sweep.cells[0].id, "seed": "1", "step": str(step)}
        assert set(tensors) == {"hidden0.weight", "hidden1.weight", "readout.weight"}
    history = pd.read_parquet(paths.history).query("seed == 1 and split == 'train' and metric == 'loss'")
    assert history["value"].iloc[-1] < history["value"].iloc[0]


def test_deleted_outputs_are_rewritten_from_finished_work(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = trained
    history, moment = paths.history.read_bytes(), paths.checkpoint(0, 30).stat().st_mtime_ns
    paths.history.unlink()
    paths.cell.unlink()
    train(sweep, sweep.cells[0], results, CPU)
    assert paths.history.read_bytes() == history
    assert paths.checkpoint(0, 30).stat().st_mtime_ns == moment


def test_a_deleted_checkpoint_is_trained_again(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = trained
    before = paths.checkpoint(0, 30).read_bytes()
    paths.checkpoint(0, 30).unlink()
    train(sweep, sweep.cells[0], results, CPU)
    assert paths.checkpoint(0, 30).read_bytes() == before


def test_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nfa.training import TrainingRun

    sweep = tiny_sweep()
    cell = sweep.cells[1]
    train(sweep, cell, tmp_path / "whole", CPU)
    advance = TrainingRun.advance

    def interrupted(run: TrainingRun) -> None:
        if run.step == 17 and run.seed == 1:
            raise KeyboardInterrupt
        advance(run)

    monkeypatch.setattr(TrainingRun, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(sweep, cell, tmp_path / "cut", CPU, save_seconds=0)
    monkeypatch.setattr(TrainingRun, "advance", advance)
    train(sweep, cell, tmp_path / "cut", CPU, save_seconds=0)
    whole, cut = (SweepPaths(tmp_path / name / sweep.name).cell(cell.id) for name in ("whole", "cut"))
    assert whole.history.read_bytes() == cut.history.read_bytes()
    for step in cell.train.checkpoint_steps(200):
        assert whole.checkpoint(1, step).read_bytes() == cut.checkpoint(1, step).read_bytes()
    assert not list((cut.state / "train").glob("*/*.resume.safetensors"))


@pytest.mark.parametrize("stage", [measure, probe], ids=lambda s: s.__name__)
def test_a_damaged_or_foreign_checkpoint_is_named_and_nothing_is_overwritten(
    trained: tuple[Sweep, CellPaths, Path], stage: object
) -> None:
    sweep, paths, results = trained
    file = paths.checkpoint(1, 30)
    good = file.read_bytes()
    for damage, words in (
        (lambda: file.write_bytes(good[: len(good) // 2]), "damaged checkpoint"),
        (lambda: file.write_bytes(b"\x80\x04K\x01."), "damaged checkpoint"),
        (lambda: shutil.copy(paths.checkpoint(0, 30), file), "a foreign checkpoint: its seed is '0', expected '1'"),
        (file.unlink, "missing"),
    ):
        damage()
        left = file.read_bytes() if file.exists() else None
        with pytest.raises(UserError, match=words) as caught:
            stage(sweep, sweep.cells[0], results, CPU)  # type: ignore[operator]
        assert str(file) in str(caught.value)
        assert (file.read_bytes() if file.exists() else None) == left
        file.write_bytes(good)
    stage(sweep, sweep.cells[0], results, CPU)  # type: ignore[operator]


def test_stages_name_the_one_that_comes_before(tmp_path: Path) -> None:
    sweep = tiny_sweep()
    for stage in (measure, probe):
        with pytest.raises(UserError, match="run `nfa train`"):
            stage(sweep, sweep.cells[0], tmp_path, CPU)
    train(tiny_sweep(seeds=1), sweep.cells[0], tmp_path, CPU)
    with pytest.raises(UserError, match="seed 1 is not trained"):
        measure(sweep, sweep.cells[0], tmp_path, CPU)


def test_a_diverged_run_is_a_result_and_the_stages_go_on(tmp_path: Path) -> None:
    sweep = tiny_sweep(optimizer=[{"name": "sgd", "lr": 1e4}], seeds=1)
    cell = sweep.cells[0]
    paths = SweepPaths(tmp_path / sweep.name).cell(cell.id)
    for stage in (train, measure, probe):
        stage(sweep, cell, tmp_path, CPU)
    history = pd.read_parquet(paths.history)
    step = int(history.query("metric == 'diverged'")["step"].iloc[0])
    alignment = pd.read_parquet(paths.alignment)
    assert alignment["step"].max() <= step < 30
    assert 0 in set(alignment["step"])


def test_a_run_that_diverges_at_once_is_a_result_too(tmp_path: Path) -> None:
    model = [{"name": "mlp", "depth": 20, "width": 12, "init_scale": 1e4}]
    sweep = tiny_sweep(model=model, seeds=1, optimizer=[{"name": "sgd"}])
    for cell in sweep.cells:
        for stage in (train, measure, probe):
            stage(sweep, cell, tmp_path, CPU)
    paths = SweepPaths(tmp_path / sweep.name).cell(sweep.cells[0].id)
    alignment = pd.read_parquet(paths.alignment)
    assert set(alignment["step"]) == {0}
    assert (alignment.loc[alignment["value"].isna(), "note"] != "").all()
    summary = aggregate(sweep, tmp_path)
    assert set(summary.diverged) == {cell.id for cell in sweep.cells}


@pytest.mark.parametrize("stage", [train, measure, probe], ids=lambda s: s.__name__)
def test_a_damaged_part_is_made_again(trained: tuple[Sweep, CellPaths, Path], stage: Any) -> None:
    sweep, paths, results = trained
    cell = sweep.cells[0]
    stage(sweep, cell, results, CPU)
    outputs = {"train": paths.history, "measure": paths.alignment, "probe": paths.probes}
    good = outputs[stage.__name__].read_bytes()
    for name, damage in (
        ("seed-0.parquet", b"junk"),
        ("seed-1.json", b"[1]"),
        ("seed-0.json", b"{}"),
        ("seed-1.parquet", None),
    ):
        (part,) = (paths.state / stage.__name__).glob(f"*/{name}")
        if damage is None:
            part.unlink()
        else:
            part.write_bytes(damage)
        stage(sweep, cell, results, CPU)
        assert outputs[stage.__name__].read_bytes() == good


def test_results_of_other_settings_or_damaged_ones_are_refused_with_the_way_out(
    trained: tuple[Sweep, CellPaths, Path],
) -> None:
    sweep, paths, results = trained
    sweep = tiny_sweep(data=sweep.document["data"][:1], optimizer=sweep.document["optimizer"][:1])
    cell = sweep.cells[0]
    for stage in (measure, probe):
        stage(sweep, cell, results, CPU)
    check_outputs(sweep, cell, paths)
    other = parse({**sweep.document, "measure": {"samples": 20}}, "tiny.yaml")
    with pytest.raises(UserError, match=f"made with other settings.*run `nfa measure tiny.yaml --cells {cell.id}`"):
        aggregate(other, results)
    more = parse({**sweep.document, "seeds": 3}, "tiny.yaml")
    with pytest.raises(UserError, match="seed 2 is not trained"):
        aggregate(more, results)
    for path, junk in (
        (paths.matrices, b"junk"),
        (paths.probes, b"junk"),
        (paths.cell, b"\xff\xfe"),
        (paths.cell, b"[]"),
    ):
        good = path.read_bytes()
        path.write_bytes(junk)
        with pytest.raises(UserError, match="damaged"):
            aggregate(sweep, results)
        path.write_bytes(good)
    measure(other, cell, results, CPU)
    check_outputs(other, cell, paths)


def test_provenance_is_of_the_training(trained: tuple[Sweep, CellPaths, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, paths, results = trained
    before = json.loads(paths.cell.read_text())
    monkeypatch.setattr("nfa.stages.train.provenance", lambda: {"commit": "later"})
    more = parse({**sweep.document, "seeds": 3}, "tiny.yaml")
    train(more, more.cells[0], results, CPU)
    after = json.loads(paths.cell.read_text())
    assert after["provenance"] == before["provenance"]
    assert after["runs"]["0"] == before["runs"]["0"]
    assert after["runs"]["2"]["provenance"]["commit"] == "later"


def test_probes_have_their_baselines_and_beat_chance(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = trained
    probe(sweep, sweep.cells[0], results, CPU)
    frame = pd.read_parquet(paths.probes)
    assert set(frame.query("layer == 'input'")["step"]) == {0}
    assert set(frame.query("layer != 'input'")["step"]) == set(sweep.cells[0].train.checkpoint_steps(200))
    linear = frame.query("probe == 'ridge'")
    assert set(linear["metric"]) == {"accuracy"}
    assert linear.query("layer == 'input' and split == 'test'")["value"].min() > 0.4
    assert (frame["features"] != "").all()


def test_another_probe_setting_and_back_finds_its_work(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = trained
    probe(sweep, sweep.cells[0], results, CPU)
    first = paths.probes.read_bytes()
    other = tiny_sweep(probe={"kind": "logistic"}, data=sweep.document["data"][:1])
    probe(other, other.cells[0], results, CPU)
    assert set(pd.read_parquet(paths.probes)["probe"]) & {"ridge", "logistic"} == {"logistic"}
    paths.probes.unlink()
    probe(sweep, sweep.cells[0], results, CPU)
    assert paths.probes.read_bytes() == first


def test_timings_name_every_stage_and_seed(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = trained
    measure(sweep, sweep.cells[0], results, CPU)
    frame = pd.read_parquet(paths.timings)
    named = set(zip(frame["stage"], frame["seed"], strict=True))
    assert named == {(stage, seed) for stage in ("train", "measure") for seed in (0, 1)}
    assert (frame["seconds"] > 0).all()
    assert (frame["peak_memory_mib"] > 10).all()


def test_early_dynamics_are_followed_where_asked_for_plain_sgd(tmp_path: Path) -> None:
    """The curves are those of the initial network on the first samples of the permutation; Adam has none."""
    sweep = tiny_sweep(seeds=1, measure={"samples": 50, "early": 30})
    arrays = {}
    for cell in sweep.cells[:2]:
        train(sweep, cell, tmp_path, CPU)
        measure(sweep, cell, tmp_path, CPU)
        arrays[cell.optimizer.name] = read_arrays(SweepPaths(tmp_path / sweep.name).cell(cell.id).matrices)  # type: ignore[attr-defined]
    assert not any("early" in key for key in arrays["adam"])
    cell, materials = sweep.cells[0], load_data(sweep.cells[0], 0, CPU)
    chosen = materials.order[:30]
    x, y = materials.x_train[chosen], materials.y_train[chosen]
    expected = early_arrays(build_model(cell, 0, CPU), x, y, training_loss(cell))
    found = {key.removeprefix("0/0/"): value for key, value in arrays["sgd"].items() if "early" in key}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-9, err_msg=key)
