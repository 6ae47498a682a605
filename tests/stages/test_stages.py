"""Train, measure and probe together: finished work is kept, and damaged or foreign files are refused."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from nfa.errors import UserError
from nfa.stages.aggregate import aggregate
from nfa.stages.measure import measure
from nfa.stages.options import StageOptions
from nfa.stages.probe import probe
from nfa.stages.train import train
from nfa.storage.checks import check_outputs
from nfa.storage.finished_seeds import Parts
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")


def test_deleted_outputs_are_rewritten_from_finished_work(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = trained
    history, moment = paths.history.read_bytes(), paths.checkpoint(0, 30).stat().st_mtime_ns
    paths.history.unlink()
    paths.cell.unlink()
    train(sweep, sweep.cells[0], StageOptions(results, CPU))
    assert paths.history.read_bytes() == history
    assert paths.checkpoint(0, 30).stat().st_mtime_ns == moment


def test_seeds_side_by_side_give_the_same_bytes(tmp_path: Path) -> None:
    sweep = tiny_sweep(seeds=3)
    cell, files = sweep.cells[0], {}
    for processes in (1, 2):
        results = tmp_path / str(processes)
        paths = SweepPaths(results / sweep.name).cell(cell.id)
        for stage in (train, measure, probe):
            stage(sweep, cell, StageOptions(results, CPU, processes=processes))
        tables = (paths.history, paths.alignment, paths.matrices, paths.probes)
        files[processes] = [file.read_bytes() for file in (*tables, paths.checkpoint(2, 30))]
        forks = {Parts(paths, "measure", sweep.hashes(cell)["measure"]).file(seed, "json") for seed in sweep.seeds}
        assert all(file.exists() for file in forks)
    assert files[1] == files[2]


@pytest.mark.parametrize("stage", [train, measure, probe], ids=lambda s: s.__name__)
def test_an_error_beside_other_seeds_is_raised_unchanged(
    stage: Any, trained: tuple[Sweep, CellPaths, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seed that fails in a fork is done again, where its error is seen; the others are finished."""
    sweep, paths, results = trained
    cell = sweep.cells[0]
    if stage is train:
        shutil.rmtree(paths.state)
    module = sys.modules[stage.__module__]
    name = {"train": "_train_seeds", "measure": "_measure_seed", "probe": "_probe_seed"}[stage.__name__]
    original = getattr(module, name)

    def failing(*arguments: Any, **more: Any) -> Any:
        if arguments[1] in (1, [1]):
            raise UserError("no such seed")
        return original(*arguments, **more)

    monkeypatch.setattr(module, name, failing)
    with pytest.raises(UserError, match="no such seed"):
        stage(sweep, cell, StageOptions(results, CPU, processes=2))
    parts = Parts(paths, stage.__name__, sweep.hashes(cell)[stage.__name__])
    assert parts.finished(0) is not None
    assert parts.finished(1) is None


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
            stage(sweep, sweep.cells[0], StageOptions(results, CPU))  # type: ignore[operator]
        assert str(file) in str(caught.value)
        assert (file.read_bytes() if file.exists() else None) == left
        file.write_bytes(good)
    stage(sweep, sweep.cells[0], StageOptions(results, CPU))  # type: ignore[operator]


def test_stages_name_the_one_that_comes_before(tmp_path: Path) -> None:
    sweep = tiny_sweep()
    for stage in (measure, probe):
        with pytest.raises(UserError, match="run `nfa train`"):
            stage(sweep, sweep.cells[0], StageOptions(tmp_path, CPU))
    train(tiny_sweep(seeds=1), sweep.cells[0], StageOptions(tmp_path, CPU))
    with pytest.raises(UserError, match="seed 1 is not trained"):
        measure(sweep, sweep.cells[0], StageOptions(tmp_path, CPU))


def test_a_diverged_run_is_a_result_and_the_stages_go_on(tmp_path: Path) -> None:
    sweep = tiny_sweep(optimizer=[{"name": "sgd", "lr": 1e4}], seeds=1)
    cell = sweep.cells[0]
    paths = SweepPaths(tmp_path / sweep.name).cell(cell.id)
    for stage in (train, measure, probe):
        stage(sweep, cell, StageOptions(tmp_path, CPU))
    history = pd.read_parquet(paths.history)
    step = int(history.query("metric == 'diverged'")["step"].iloc[0])
    alignment = pd.read_parquet(paths.alignment)
    assert alignment["step"].max() <= step < 30
    assert 0 in set(alignment["step"])


@pytest.mark.parametrize("stage", [train, measure, probe], ids=lambda s: s.__name__)
def test_a_damaged_part_is_made_again(trained: tuple[Sweep, CellPaths, Path], stage: Any) -> None:
    sweep, paths, results = trained
    cell = sweep.cells[0]
    stage(sweep, cell, StageOptions(results, CPU))
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
        stage(sweep, cell, StageOptions(results, CPU))
        assert outputs[stage.__name__].read_bytes() == good


def test_results_of_other_settings_or_damaged_ones_are_refused_with_the_way_out(
    trained: tuple[Sweep, CellPaths, Path],
) -> None:
    sweep, paths, results = trained
    sweep = tiny_sweep(data=sweep.document["data"][:1], optimizer=sweep.document["optimizer"][:1])
    cell = sweep.cells[0]
    for stage in (measure, probe):
        stage(sweep, cell, StageOptions(results, CPU))
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
    measure(other, cell, StageOptions(results, CPU))
    check_outputs(other, cell, paths)


def test_timings_name_every_stage_and_seed(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = trained
    measure(sweep, sweep.cells[0], StageOptions(results, CPU))
    frame = pd.read_parquet(paths.timings)
    named = set(zip(frame["stage"], frame["seed"], strict=True))
    assert named == {(stage, seed) for stage in ("train", "measure") for seed in (0, 1)}
    assert (frame["seconds"] > 0).all()
    assert (frame["peak_memory_mib"] > 10).all()
