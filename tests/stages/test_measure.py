"""The stage that measures: early dynamics, and the arrays for pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from nfa.alignment import measure_covariances
from nfa.stages import seed_work
from nfa.stages.aggregate import aggregate, collect
from nfa.stages.measure import measure
from nfa.stages.options import StageOptions
from nfa.stages.predict import predict
from nfa.stages.probe import probe
from nfa.stages.publish import publish
from nfa.stages.train import train
from nfa.storage.arrays import read_arrays
from nfa.storage.checkpoints import load_tensors, load_weights
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.storage.tables import read_table
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
        train(sweep, cell, StageOptions(tmp_path, CPU))
        measure(sweep, cell, StageOptions(tmp_path, CPU))
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


@pytest.mark.parametrize("names", [["relative_change"], ["c_nfc", "uc_nfc"], ["directional", "directional_haar"]])
def test_chosen_quantities_alone_are_in_the_tables_and_the_report(names: list[str], tmp_path: Path) -> None:
    settings = {"seeds": 1, "probe": {"kernel": "none", "rfm": 0}}
    some, whole = tiny_sweep(**settings, measure={"samples": 50, "quantities": names}), tiny_sweep(**settings)
    some, whole = (replace(sweep, cells=sweep.cells[:1]) for sweep in (some, whole))
    for sweep, results in ((some, tmp_path / "some"), (whole, tmp_path / "whole")):
        for stage in (train, measure, probe):
            stage(sweep, sweep.cells[0], StageOptions(results, CPU))
    found, every = (
        read_table(SweepPaths(tmp_path / folder / "tiny").cell(some.cells[0].id).alignment)
        for folder in ("some", "whole")
    )
    expected = every[every.quantity.isin(names)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-9)
    report = aggregate(some, tmp_path / "some").report
    assert report.stat().st_size > 0
    publish(some, tmp_path / "some")


def test_heads_are_layers_of_their_own_in_every_stage(tmp_path: Path) -> None:
    """Of a transformer query, key and value are cut; a network without heads is measured as without the key."""
    sweep = tiny_sweep(
        seeds=1,
        data=[{"name": "fashion_mini", "n_train": 100, "n_test": 50}],
        model=[
            {"name": "transformer", "depth": 1, "width": 8, "heads": [1, 2], "patch": 14},
            {"name": "mlp", "depth": 1, "width": 8},
        ],
        optimizer=[{"name": "adam", "lr": 0.01, "weight_decay": 0.1}],
        train={"steps": 5, "batch_size": 32, "checkpoints": 1},
        measure={"samples": 40, "heads": True},
        probe={"kernel": "none", "rfm": 0},
    )
    paths = SweepPaths(tmp_path / sweep.name)
    for cell in sweep.cells:
        for stage in (train, measure, probe):
            stage(sweep, cell, StageOptions(tmp_path, CPU))
    one, two, without = (read_table(paths.cell(cell.id).alignment) for cell in sweep.cells)
    projections = [f"blocks.0.{part}" for part in ("query", "key", "value")]
    others = ["embed", "blocks.0.output", "blocks.0.up", "blocks.0.down", "readout"]
    assert set(one.layer) == {*projections, *others}
    assert set(two.layer) == {f"{name}.{head}" for name in projections for head in (0, 1)} | {*others}
    assert set(without.layer) == {layer.name for layer in sweep.cells[2].layers}
    for quantity, step in (("c_nfc", 0), ("c_nfc_update", 0), ("c_nfc", 5), ("fact", 5)):
        values = two[(two.quantity == quantity) & (two.step == step) & (two.power.isin(["1"]) | two.power.isna())].value
        assert len(values) >= 11, quantity
        assert values.notna().all(), quantity

    cell = sweep.cells[1]
    materials, model = load_data(cell, 0, CPU), build_model(cell, 0, CPU)
    model.load_state_dict(load_tensors(paths.cell(cell.id).checkpoint(0, 5), {})[0])
    whole = measure_covariances(model, materials.x_train[materials.order[:40]]).layers["blocks.0.key"]
    weight, k = whole.weight[4:], whole.covariance[4:, 4:]
    nfm, agop = weight.T @ weight, weight.T @ k @ weight
    expected = float((nfm * agop).sum() / nfm.norm() / agop.norm())
    row = two[
        (two.layer == "blocks.0.key.1")
        & (two.step == 5)
        & (two.quantity == "uc_nfc")
        & (two.correlation == "cosine")
        & (two.power == "1")
    ]
    np.testing.assert_allclose(row.value, expected, rtol=1e-5)

    scores = collect(sweep, paths).scores
    scores = scores[scores.cell == cell.id].set_index("layer")
    places = two.drop_duplicates("layer").set_index("layer").layer_index
    for name in projections:
        assert (scores.loc[name].layer_index == places[f"{name}.0"]).all()

    predicted = predict(sweep, [cell], [0], CPU).set_index(["layer", "quantity", "correlation", "power"]).value
    measured = two[two.step == 0].set_index(["layer", "quantity", "correlation", "power"]).value
    assert set(predicted.index.get_level_values("layer")) == set(two.layer)
    np.testing.assert_allclose(measured[predicted.index], predicted, rtol=1e-6)


def test_arrays_are_kept_at_the_first_the_middle_and_the_last_checkpoint(
    trained: tuple[Sweep, CellPaths, Path],
) -> None:
    """K in the left singular basis of every layer at all three, NFM and AGOP at both ends; float32."""
    sweep, paths, results = trained
    cell = sweep.cells[0]
    measure(sweep, cell, StageOptions(results, CPU))
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
            measure(sweep, cell, StageOptions(results, CPU, save_seconds=0))
    measure(sweep, cell, StageOptions(results, CPU))
    assert sum(f"/{steps[len(steps) // 2]}/hidden0/left_k" in key for key in read_arrays(paths.matrices)) == 2
