"""Runs whose speeds change, by a schedule or by alignment, and resume with the same bytes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nfa.alignment import correlations, measure_covariances
from nfa.optim import SpeedLimited
from nfa.storage.checkpoints import load_tensors, save_tensors
from nfa.sweep.cells import Cell
from nfa.training import TrainingRun, load_data
from nfa.training.changing_speeds import hidden_nfc
from nfa.training.together import Together, stackable
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")
LATER = {"name": "slo", "lr": 0.1, "speeds": {"first": 1, "others": 0.1}, "later": {0.4: {"last": 1, "others": 0}}}
ADAPT = {"name": "slo", "lr": 0.1, "adapt": 5, "adapt_rate": 3.0, "adapt_bound": 2.0}


def cell_of(optimizer: dict[str, Any], **changes: Any) -> Cell:
    data = [{"name": "chain_monomial", "dim": 16, "rank": 3, "n_train": 128, "n_test": 64}]
    model = [{"name": "mlp", "depth": 3, "width": 16, "init_scale": 0.5}]
    return tiny_sweep(optimizer=[optimizer], data=data, model=model, **changes).cells[0]


def begin(cell: Cell, seed: int = 0) -> TrainingRun:
    return TrainingRun(cell, seed, load_data(cell, seed, CPU))


def to(run: TrainingRun, step: int) -> TrainingRun:
    while run.step < step:
        run.advance()
    return run


def weights(run: TrainingRun) -> Tensor:
    return torch.cat([value.flatten() for value in run.model.state_dict().values()])


def test_a_schedule_changes_speeds_at_its_share_of_the_steps() -> None:
    run = to(begin(cell_of(LATER)), 12)  # of 30
    first = run.model.get_parameter("hidden0.weight").detach().clone()
    readout = run.model.get_parameter("readout.weight").detach().clone()
    to(run, 13)
    assert torch.equal(run.model.get_parameter("hidden0.weight"), first)
    moved = (run.model.get_parameter("readout.weight") - readout).norm().item()
    assert moved == pytest.approx(0.1 * (1 - 12 / 30), rel=1e-4)
    run.record()
    speeds = {metric: value for *_, metric, value in run.history if metric.startswith("speed/")}
    assert speeds == {"speed/hidden0": 0, "speed/hidden1": 0, "speed/hidden2": 0, "speed/readout": 1}


def test_the_rule_raises_the_layer_that_lags_within_its_bounds() -> None:
    run = to(begin(cell_of(ADAPT)), 5)
    nfc = hidden_nfc(run.model, run.materials.x_train[run.materials.order[:256]])
    assert set(nfc) == {"hidden0", "hidden1", "hidden2"}
    run.advance()
    assert run.speeds is not None
    lagging, leading = min(nfc, key=nfc.__getitem__), max(nfc, key=nfc.__getitem__)
    assert run.speeds.now[lagging] > 1 > run.speeds.now[leading]
    assert run.speeds.now["readout"] == 1
    assert isinstance(run.optimizer, SpeedLimited)
    assert run.optimizer.speeds == run.speeds.now
    while run.step < run.total:
        run.advance()
        assert all(0.5 <= speed <= 2 for speed in run.speeds.now.values())


def test_what_the_rule_sees_is_the_measured_alignment_and_leaves_no_trace() -> None:
    run = to(begin(cell_of(ADAPT)), 3)
    before = weights(run).clone()
    samples = run.materials.x_train[:64]
    found = hidden_nfc(run.model, samples)
    layer = measure_covariances(run.model, samples).layers["hidden1"]
    assert found["hidden1"] == correlations(layer.weight, layer.covariance)["cosine"].value
    assert torch.equal(weights(run), before)


@pytest.mark.parametrize("optimizer", [LATER, ADAPT, {**ADAPT, "on": "adam", "lr": 0.02}], ids=str)
@pytest.mark.parametrize("stop", [4, 5, 13])  # before, at and after a measurement
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, optimizer: dict[str, Any], stop: int) -> None:
    cell = cell_of(optimizer)
    whole, half = to(begin(cell), 30), to(begin(cell), stop)
    save_tensors(tmp_path / "s.safetensors", *half.state())
    taken_up = begin(cell)
    taken_up.restore(*load_tensors(tmp_path / "s.safetensors", {}))
    to(taken_up, 30)
    assert torch.equal(weights(taken_up), weights(whole))
    whole.record()
    taken_up.record()
    assert taken_up.history == whole.history


def test_seeds_share_a_schedule_but_not_what_follows_their_own_alignment() -> None:
    alone, group = ([begin(cell_of(LATER), seed) for seed in (0, 1)] for _ in range(2))
    assert stackable(group[0])
    assert not stackable(begin(cell_of(ADAPT)))
    together = Together(group)
    for _ in range(30):
        together.advance()
    together.part()
    for one, other in zip(alone, group, strict=True):
        to(one, 30)
        assert ((weights(one) - weights(other)).norm() / weights(one).norm()).item() < 1e-4
        assert one.speeds is not None
        assert other.speeds is not None
        assert one.speeds.now == other.speeds.now


def test_speeds_that_do_not_change_are_no_ones_business() -> None:
    assert begin(cell_of({"name": "slo", "lr": 0.1})).speeds is None
    assert begin(cell_of({"name": "sgd", "lr": 0.1})).speeds is None
