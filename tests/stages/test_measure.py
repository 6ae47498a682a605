"""The stage that measures: early dynamics, and the arrays for pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nfa.stages import seed_work
from nfa.stages.measure import measure
from nfa.stages.train import train
from nfa.storage.arrays import read_arrays
from nfa.storage.checkpoints import load_weights
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.sweep.cells import Sweep
from nfa.theory.early import early_arrays
from nfa.training import build_model, load_data
from nfa.training.materials import training_loss
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")


def test_early_dynamics_are_followed_where_asked_for_plain_sgd(tmp_path: Path) -> None:
    """The curves belong to the initial network on the first samples of the permutation; a cell of Adam has none."""
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


def test_arrays_are_kept_at_the_first_the_middle_and_the_last_checkpoint(
    trained: tuple[Sweep, CellPaths, Path],
) -> None:
    """K in the left singular basis of every layer at all three, NFM and AGOP at both ends; float32."""
    sweep, paths, results = trained
    cell = sweep.cells[0]
    measure(sweep, cell, results, CPU)
    arrays = read_arrays(paths.matrices)
    assert all(array.dtype == np.float32 for array in arrays.values())
    steps = cell.train.checkpoint_steps(cell.shape.n_train)
    assert len(steps) > 3
    pictured = [steps[0], steps[len(steps) // 2], steps[-1]]
    for seed in sweep.seeds:
        for layer in cell.layers:
            size = min(layer.fan_out, layer.fan_in)
            for step in steps:
                found = {key.rpartition("/")[2] for key in arrays if key.startswith(f"{seed}/{step}/{layer.name}/")}
                assert ({"left_k", "strengths", "kappa"} <= found) == (step in pictured)
                assert ("nfm_spectrum" in found) == (step in (steps[0], steps[-1]))
            for step in pictured:
                key = f"{seed}/{step}/{layer.name}"
                assert arrays[f"{key}/left_k"].shape == (min(size, 32),) * 2
                assert arrays[f"{key}/strengths"].shape == arrays[f"{key}/kappa"].shape == (size,)


def test_a_measurement_that_goes_on_keeps_the_same_arrays(
    trained: tuple[Sweep, CellPaths, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The middle checkpoint is measured again after a stop, since its rows are saved and its arrays are not."""
    sweep, paths, results = trained
    cell = sweep.cells[0]
    steps = cell.train.checkpoint_steps(cell.shape.n_train)

    def stopped(model: nn.Module, path: Path, identity: dict[str, str]) -> None:
        if identity["step"] == str(steps[-1]):
            raise KeyboardInterrupt
        load_weights(model, path, identity)

    with monkeypatch.context() as patch:
        patch.setattr(seed_work, "load_weights", stopped)
        with pytest.raises(KeyboardInterrupt):
            measure(sweep, cell, results, CPU, save_seconds=0)
    measure(sweep, cell, results, CPU)
    assert sum(f"/{steps[len(steps) // 2]}/hidden0/left_k" in key for key in read_arrays(paths.matrices)) == 2
