"""The stage that measures: early dynamics."""

from pathlib import Path

import numpy as np
import torch

from nfa.stages.measure import measure
from nfa.stages.train import train
from nfa.storage.arrays import read_arrays
from nfa.storage.paths import SweepPaths
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
