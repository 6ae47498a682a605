"""Training runs: the same data and weights for all optimizers, resuming, divergence, history, losses."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nfa.losses import cross_entropy, squared_error
from nfa.storage.checkpoints import load_tensors, save_tensors
from nfa.sweep.cells import Cell
from nfa.training import TrainingRun, load_data
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")


OPTIMIZERS = [
    {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    {"name": "adam", "lr": 0.01, "schedule": "cosine"},
    {"name": "slo", "lr": 0.05, "speeds": {"first": 1, "others": 0.1}},
]


def cells(**changes: object) -> tuple[Cell, ...]:
    """Return the cells of the small sweep."""
    return tiny_sweep(**changes).cells


def run_to(cell: Cell, step: int, seed: int = 0) -> TrainingRun:
    """Train a run up to a step."""
    run = TrainingRun(cell, seed, load_data(cell, seed, CPU))
    while run.step < step:
        run.advance()
    return run


def weights(run: TrainingRun) -> Tensor:
    """Return all weights as one vector."""
    return torch.cat([value.flatten() for value in run.model.state_dict().values()])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: str(o["name"]))
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, optimizer: dict[str, object]) -> None:
    cell = cells(optimizer=[optimizer])[0]
    whole = run_to(cell, 30)
    half = run_to(cell, 13)
    half.record()
    save_tensors(tmp_path / "s.safetensors", *half.state())
    taken_up = TrainingRun(cell, 0, load_data(cell, 0, CPU))
    torch.manual_seed(99)
    taken_up.restore(*load_tensors(tmp_path / "s.safetensors", {}))
    assert taken_up.step == 13
    assert taken_up.history == half.history
    while taken_up.step < 30:
        taken_up.advance()
    assert torch.equal(weights(taken_up), weights(whole))


DROPOUT = """
import numpy, torch
from torch import nn

class Noise(nn.Module):
    def forward(self, x):
        return x + 0.01 * torch.randn_like(x) + 0.01 * float(numpy.random.rand())

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), Noise(), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10))
"""


def test_a_network_that_draws_is_resumed_to_the_same_bits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drawing_models.py").write_text(DROPOUT)
    monkeypatch.chdir(tmp_path)
    images = [{"name": "fashion_mini", "n_train": 200, "n_test": 100}]
    cell = cells(data=images, model=[{"name": "drawing_models:make"}])[0]
    whole, half = run_to(cell, 30), run_to(cell, 13)
    whole.record()
    save_tensors(tmp_path / "s.safetensors", *half.state())
    other = run_to(cell, 2, seed=1)  # another run in between
    taken_up = TrainingRun(cell, 0, load_data(cell, 0, CPU))
    taken_up.restore(*load_tensors(tmp_path / "s.safetensors", {}))
    torch.manual_seed(99)
    before = torch.get_rng_state()
    while taken_up.step < 30:
        taken_up.advance()
    taken_up.record()
    assert torch.equal(weights(taken_up), weights(whole))
    assert taken_up.history == whole.history
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(weights(other), weights(run_to(cell, 2)))


def test_optimizers_at_one_seed_share_data_weights_and_batches() -> None:
    first, second = cells(data=[{"name": "chain_monomial", "n_train": 128}], optimizer=OPTIMIZERS[:2])
    runs = [TrainingRun(cell, 3, load_data(cell, 3, CPU)) for cell in (first, second)]
    assert torch.equal(runs[0].materials.x_train, runs[1].materials.x_train)
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert torch.equal(runs[0].materials.order, runs[1].materials.order)
    for _ in range(9):
        first_rows, second_rows = (run.rows() for run in runs)
        assert isinstance(first_rows, Tensor)
        assert isinstance(second_rows, Tensor)
        assert torch.equal(first_rows, second_rows)
        for run in runs:
            run.advance()


def test_every_epoch_visits_every_sample_once() -> None:
    cell = cells()[0]  # 200 samples in batches of 32: the last one has 8
    run = TrainingRun(cell, 0, load_data(cell, 0, CPU))
    seen = []
    for _ in range(run.steps_per_epoch):
        seen.append(run.rows())
        run.step += 1
    assert [len(rows) for rows in seen] == [32] * 6 + [8]  # type: ignore[arg-type]
    assert sorted(torch.cat(seen).tolist()) == list(range(200))  # type: ignore[arg-type]


def test_seeds_differ() -> None:
    cell = cells()[0]
    assert not torch.equal(weights(run_to(cell, 0, 0)), weights(run_to(cell, 0, 1)))


def test_a_diverging_run_stops_and_keeps_its_last_finite_weights() -> None:
    cell = cells(optimizer=[{"name": "sgd", "lr": 1e5}])[0]
    run = TrainingRun(cell, 0, load_data(cell, 0, CPU))
    while run.step < 30 and not run.diverged:
        run.advance()
    assert run.diverged
    assert run.step < 30
    assert [row for row in run.history if row[3] == "diverged"] == [(run.step, run.step / 7, "train", "diverged", 1.0)]


def test_history_says_loss_accuracy_rate_and_norms() -> None:
    classes, regression = (c for c in cells(optimizer=[OPTIMIZERS[2]]) if c)
    for cell, accuracy in ((classes, True), (regression, False)):
        run = run_to(cell, 15)
        run.record()
        metrics = {(row[2], row[3]): row[4] for row in run.history}
        assert (("test", "accuracy") in metrics) == accuracy
        assert metrics["train", "lr"] == pytest.approx(0.05 * 0.5)
        assert metrics["train", "change_norm/hidden0"] > 0
        assert metrics["train", "weight_norm/readout"] > 0


def test_losses_known_values() -> None:
    outputs, targets = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.5, -0.5], [-0.5, 0.5]])
    assert squared_error(outputs, targets).item() == pytest.approx((0.25 + 0.25 + 0.25 + 2.25) / 4)
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))) / 2
    assert cross_entropy(outputs, targets).item() == pytest.approx(expected)
