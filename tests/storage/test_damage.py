"""Single flipped bits in files that stages read back are always detected."""

import contextlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nfa.errors import UserError
from nfa.stages.measure import measure
from nfa.stages.options import StageOptions
from nfa.stages.train import train
from nfa.storage.arrays import read_arrays, write_arrays
from nfa.storage.checkpoints import DamagedError, load_tensors
from nfa.storage.checks import check_outputs
from nfa.storage.columns import HISTORY
from nfa.storage.finished_seeds import Parts
from nfa.storage.partial_table import GrowingTable
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.storage.tables import read_arrow, read_stamp, write_frame, write_table
from nfa.sweep.cells import Sweep
from nfa.training import TrainingRun
from tests.helpers import nfa, tiny, tiny_sweep

CPU = torch.device("cpu")
DRAW = random.Random(0)


def flipped(good: bytes, places: Iterator[int] | range | list[int]) -> Iterator[bytes]:
    """Yield copies of the bytes, each with one random bit flipped at one of the places."""
    for place in places:
        damaged = bytearray(good)
        damaged[place] ^= 1 << DRAW.randrange(8)
        yield bytes(damaged)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, CellPaths, Path]:
    """Train and measure one cell with one seed."""
    sweep = tiny_sweep(seeds=1)
    results = tmp_path_factory.mktemp("results")
    for stage in (train, measure):
        stage(sweep, sweep.cells[1], StageOptions(results, CPU))
    return sweep, SweepPaths(results / sweep.name).cell(sweep.cells[1].id), results


@pytest.fixture
def cell(whole: tuple[Sweep, CellPaths, Path], tmp_path: Path) -> tuple[Sweep, CellPaths, Path]:
    """Copy the cell for a test to damage."""
    sweep, paths, results = whole
    shutil.copytree(results, tmp_path / "copy")
    return sweep, SweepPaths(tmp_path / "copy" / sweep.name).cell(paths.folder.name), tmp_path / "copy"


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_refused(cell: tuple[Sweep, CellPaths, Path]) -> None:
    _, paths, _ = cell
    file = paths.checkpoint(0, 30)
    good, identity = file.read_bytes(), {"cell": paths.folder.name, "seed": "0", "step": "30"}
    before, _ = load_tensors(file, identity)
    header = 8 + int.from_bytes(good[:8], "little")
    places = [*range(header), *DRAW.sample(range(header, len(good)), 200)]
    for damaged in flipped(good, places):
        file.write_bytes(damaged)
        try:
            tensors, _ = load_tensors(file, identity)
        except UserError as error:
            assert str(file) in str(error)
            assert "\n" not in str(error)
            continue
        # A bit of the header that means nothing, such as one of the spaces that fill it up.
        assert tensors.keys() == before.keys()
        assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_damaged_weights_are_not_measured_and_the_way_out_works(tmp_path: Path) -> None:
    document = tiny(seeds=1, data=[{"name": "chain_monomial"}], optimizer=[{"name": "sgd"}])
    (tmp_path / "sweep.yaml").write_text(json.dumps(document))
    assert nfa("train", "sweep.yaml", cwd=tmp_path).returncode == 0
    (file,) = tmp_path.glob("results/tiny/*/checkpoints/seed-0/step-30.safetensors")
    good = file.read_bytes()
    damaged = bytearray(good)
    damaged[-2] ^= 0x40  # the exponent of the last weight
    file.write_bytes(damaged)
    refused = nfa("measure", "sweep.yaml", cwd=tmp_path)
    assert refused.returncode == 2
    said = refused.stderr.splitlines()[-1]
    assert f"{file.relative_to(tmp_path)}: damaged checkpoint" in said
    assert "run `nfa train` for this cell" in said
    assert not list(tmp_path.glob("results/tiny/*/alignment.parquet"))
    assert nfa("train", "sweep.yaml", cwd=tmp_path).returncode == 0
    assert file.read_bytes() == good
    assert nfa("measure", "sweep.yaml", cwd=tmp_path).returncode == 0


def test_weights_without_a_digest_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "file", {"nfa": json.dumps({"step": "7"})})
    with pytest.raises(DamagedError, match="digest"):
        load_tensors(tmp_path / "file", {"step": "7"})


def test_training_begins_again_after_a_damaged_saved_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = tiny_sweep(seeds=1)
    cell = sweep.cells[1]
    train(sweep, cell, StageOptions(tmp_path / "whole", CPU))
    advance = TrainingRun.advance

    def interrupted(run: TrainingRun) -> None:
        if run.step == 17:
            raise KeyboardInterrupt
        advance(run)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "advance", interrupted)
        # One seed of an MLP is trained by the same steps as several.
        patched.setattr("nfa.stages.train.stackable", lambda run: False)
        with pytest.raises(KeyboardInterrupt):
            train(sweep, cell, StageOptions(tmp_path / "cut", CPU, save_seconds=0))
    (saved,) = (tmp_path / "cut").rglob("*.resume.safetensors")
    damaged = bytearray(saved.read_bytes())
    damaged[-2] ^= 0x40
    saved.write_bytes(damaged)
    train(sweep, cell, StageOptions(tmp_path / "cut", CPU))
    whole, cut = (SweepPaths(tmp_path / name / sweep.name).cell(cell.id) for name in ("whole", "cut"))
    assert cut.history.read_bytes() == whole.history.read_bytes()
    assert cut.checkpoint(0, 30).read_bytes() == whole.checkpoint(0, 30).read_bytes()


def test_a_flipped_digit_in_the_record_of_a_part_makes_it_again(cell: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = cell
    (record,) = (paths.state / "train").glob("*/seed-0.json")
    text = record.read_text()
    constant = json.loads(text)["run"]["constant_predictor"]["test_loss"]
    record.write_text(text.replace(str(constant), str(constant / 2)))
    train(sweep, sweep.cells[1], StageOptions(results, CPU))
    assert json.loads(paths.cell.read_text())["runs"]["0"]["constant_predictor"]["test_loss"] == constant


def test_a_flipped_bit_in_cell_json_changes_no_number(cell: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, _ = cell
    good = paths.cell.read_bytes()
    parsed, refused = json.loads(good), 0
    for damaged in flipped(good, DRAW.sample(range(len(good)), 400)):
        paths.cell.write_bytes(damaged)
        with contextlib.suppress(UnicodeDecodeError, json.JSONDecodeError):
            if json.loads(damaged) == parsed:
                continue  # white space
        with pytest.raises(UserError, match="damaged"):
            check_outputs(sweep, sweep.cells[1], paths)
        refused += 1
    assert refused > 200


@pytest.mark.parametrize("derived", [False, True], ids=["stage", "aggregate"])
def test_a_flipped_bit_anywhere_in_a_table_changes_no_number(tmp_path: Path, derived: bool) -> None:
    file = tmp_path / "table.parquet"
    seeds = [seed for seed in (0, 1) for _ in range(20)]
    frame = pd.DataFrame({"seed": seeds, "step": [*range(20)] * 2, "value": np.random.default_rng(0).random(40)})
    frame = frame.assign(epoch=0.5, split="train", metric="loss")[HISTORY.names]
    if derived:
        write_frame(tmp_path / "table", frame.assign(metric=frame["metric"].astype("category")))
    else:
        write_table(file, frame, HISTORY, {"hash": "a" * 64, "seeds": [0, 1], "steps": [1, 2]})
    good, rows, stamp = file.read_bytes(), read_arrow(file).to_pylist(), read_stamp(file)
    for damaged in flipped(good, range(len(good))):
        file.write_bytes(damaged)
        with contextlib.suppress(OSError, ValueError):
            assert read_stamp(file) == stamp
        with contextlib.suppress(OSError, ValueError):
            assert read_arrow(file).to_pylist() == rows


def test_a_flipped_bit_anywhere_in_an_archive_loses_and_changes_no_array(tmp_path: Path) -> None:
    file, draw = tmp_path / "arrays.npz", np.random.default_rng(0)
    arrays = {f"0/{step}/layer/{name}": draw.random((3, 3)) for step in (0, 30) for name in ("nfm", "agop")}
    write_arrays(file, arrays)
    good = file.read_bytes()
    for bit in range(8):
        for place in range(len(good)):
            damaged = bytearray(good)
            damaged[place] ^= 1 << bit
            file.write_bytes(damaged)
            try:
                found = read_arrays(file)
            except UserError:
                continue
            assert found.keys() == arrays.keys()
            assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_measured_checkpoints_that_were_saved_are_not_taken_for_others(cell: tuple[Sweep, CellPaths, Path]) -> None:
    """The list of steps in the saved table says which checkpoints are done."""
    sweep, paths, _ = cell
    parts = Parts(paths, "measure", sweep.hashes(sweep.cells[1])["measure"])
    saved = parts.file(0, "resume.parquet")
    frame = pd.DataFrame(columns=HISTORY.names)
    write_table(saved, frame, HISTORY, parts.stamp([0]) | {"steps": [0, 5], "seconds": 1.0})
    assert GrowingTable(parts, 0, HISTORY, 1.0).steps == {0, 5}
    good = saved.read_bytes()
    refused = 0
    for damaged in flipped(good, range(len(good))):
        saved.write_bytes(damaged)
        steps = GrowingTable(parts, 0, HISTORY, 1.0).steps
        assert steps in ({0, 5}, set())
        refused += not steps
    assert refused > 100
