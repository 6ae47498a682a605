"""Seeds trained together give the numbers of training alone, and the same bits whichever seeds they are with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from nfa.storage.checkpoints import load_tensors, save_tensors
from nfa.sweep.cells import Cell
from nfa.training import TrainingRun
from nfa.training.materials import Materials, load_all
from nfa.training.together import Together, stackable
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")
OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"name": "sgd", "lr": 0.5, "clip": 0.05, "warmup": 0.2},
    {"name": "adam", "lr": 0.01, "schedule": "cosine"},
    {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
    {"name": "rmsprop", "lr": 0.001},
    {"name": "muon", "lr": 0.02},
    {"name": "lion", "lr": 0.001},
    {"name": "signsgd", "lr": 0.001},
    {"name": "slo", "lr": 0.05, "speeds": {"first": 1, "others": 0.1}},
    {"name": "slo", "lr": 0.05, "on": "adam"},
]
MODEL = {"name": "mlp", "width": 16, "depth": 2, "bias": True, "activation": "tanh"}
DATA = {
    "drawn": {"name": "chain_monomial", "dim": 16, "rank": 3, "n_train": 48, "n_test": 20},
    "shared": {"name": "fashion_mini", "n_train": 48, "n_test": 20},
}


def cell(optimizer: dict[str, Any], data: str = "drawn", **train: Any) -> Cell:
    sweep = tiny_sweep(
        data=[DATA[data]],
        model=[MODEL],
        optimizer=[optimizer],
        train={"steps": 100, "batch_size": 16, "checkpoints": 2, **train},
    )
    return sweep.cells[0]


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def begin(cell: Cell, seeds: list[int], *, double: bool = False) -> list[TrainingRun]:
    data = load_all(cell, seeds, CPU)
    if double:
        fields = ("x_train", "y_train", "x_test", "y_test")
        data = {s: Materials(**{**vars(m), **{f: getattr(m, f).double() for f in fields}}) for s, m in data.items()}
    runs = [TrainingRun(cell, seed, data[seed]) for seed in seeds]
    for run in runs:
        if double:
            run.model.double()
            run.optimizer = run.make_optimizer(run.model)
    return runs


def bits(run: TrainingRun) -> bytes:
    tensors, _ = run.state()
    return b"".join(tensors[name].contiguous().numpy().tobytes() for name in sorted(tensors))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_equal_to_training_one_by_one(optimizer: dict[str, Any]) -> None:
    alone, group = (begin(cell(optimizer), [0, 3, 5], double=True) for _ in range(2))
    together = Together(group)
    for _ in range(100):
        assert together.advance()
    together.part()
    for one, other in zip(alone, group, strict=True):
        for _ in range(100):
            one.advance()
        assert one.step == other.step == 100
        for (name, a), b in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
            assert ((a - b).norm() / a.norm()).item() < 1e-5, (one.seed, name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("more", [{"batch_size": 16}, {"batch_size": "full", "loss": "logistic"}], ids=str)
def test_company_changes_no_bit(optimizer: dict[str, Any], data: str, more: dict[str, Any]) -> None:
    with threads(2):
        ends = []
        for company in ([1], [1, 0], [4, 1, 0, 2, 3]):
            runs = begin(cell(optimizer, data, **more), company)
            together = Together(runs)
            for _ in range(10):
                together.advance()
            together.part()
            ends.append(bits(next(run for run in runs if run.seed == 1)))
        assert ends[0] == ends[1] == ends[2]


def test_large_layers_in_company_keep_their_bits() -> None:
    """The sums are so long that they are split between threads."""
    for optimizer in (OPTIMIZERS[1], OPTIMIZERS[5], OPTIMIZERS[8]):
        large = tiny_sweep(
            data=[DATA["shared"]],
            model=[{**MODEL, "width": 320}],
            optimizer=[optimizer],
            train={"steps": 10, "batch_size": "full"},
        ).cells[0]
        with threads(2):
            ends = []
            for company in ([1], [0, 1, 2, 3, 4, 5, 6, 7]):
                runs = begin(large, company)
                together = Together(runs)
                for _ in range(3):
                    together.advance()
                together.part()
                ends.append(bits(next(run for run in runs if run.seed == 1)))
            assert ends[0] == ends[1], optimizer


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_saved_and_taken_up_in_other_company(tmp_path: Path, optimizer: dict[str, Any]) -> None:
    whole = begin(cell(optimizer), [0, 1, 2])
    together = Together(whole)
    for _ in range(20):
        together.advance()
    together.part()
    first = begin(cell(optimizer), [0, 1, 2])
    together = Together(first)
    for _ in range(7):
        together.advance()
    together.hand_back()
    for run in first:
        save_tensors(tmp_path / f"{run.seed}.safetensors", *run.state())
    for company in ([0, 2], [1]):
        runs = begin(cell(optimizer), company)
        for run in runs:
            run.restore(*load_tensors(tmp_path / f"{run.seed}.safetensors", {}))
        together = Together(runs)
        while together.step < 20:
            together.advance()
        together.part()
        for run in runs:
            assert bits(run) == bits(whole[run.seed])


def test_a_run_that_diverges_leaves_the_others_as_they_were() -> None:
    runs = begin(cell({"name": "sgd", "lr": 0.1}), [0, 1, 2])
    with torch.no_grad():
        next(iter(runs[1].model.parameters())).fill_(float("nan"))
    together = Together(runs)
    assert not together.advance()
    assert [run.diverged for run in runs] == [False, True, False]
    assert [run.step for run in runs] == [0, 0, 0]
    together.part()
    again = Together([runs[0], runs[2]])
    assert again.advance()
    (alone,) = begin(cell({"name": "sgd", "lr": 0.1}), [2])
    Together([alone]).advance()
    again.part()
    assert torch.equal(
        torch.cat([p.flatten() for p in alone.model.parameters()]),
        torch.cat([p.flatten() for p in runs[2].model.parameters()]),
    )


def test_what_is_stacked() -> None:
    assert all(stackable(run) for run in begin(cell({"name": "sgd"}), [0]))
    assert not stackable(begin(cell({"name": "sgd"}, rule="hebb"), [0])[0])
    assert not stackable(begin(cell({"name": "sgd"}, batch_size=15), [0])[0])  # would begin between 64 bytes
    conv = tiny_sweep(
        data=[DATA["shared"]], model=[{"name": "conv", "width": 2, "depth": 1}], optimizer=[{"name": "sgd"}]
    ).cells[0]
    assert not stackable(begin(conv, [0])[0])


OWN = """
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))

class Skip(nn.Sequential):
    def forward(self, x):
        h = self[0](x)
        return self[4](h + self[2](torch.tanh(h)))

def skip():
    return Skip(*plain())

def bound():
    model = plain()
    model.forward = lambda x: 0.1 * nn.Sequential.forward(model, x)
    return model

def hooked():
    model = plain()
    model[0].register_forward_hook(lambda module, given, outputs: 0.1 * outputs)
    return model

def gradient_hooked():
    model = plain()
    model[0].weight.register_hook(lambda gradient: 0.1 * gradient)
    return model

def frozen():
    model = plain()
    model[0].requires_grad_(False)
    return model

def twice():
    shared = nn.Linear(16, 16)
    return nn.Sequential(nn.Linear(16, 16), nn.Tanh(), shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(16, 1))

def tied():
    model = plain()
    model[2].weight = model[0].weight
    return model

class Writing(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = plain()

    def forward(self, x):
        x += 1
        return self.body(x)

def writing():
    return Writing()

def apart():
    return nn.Sequential(nn.Linear(16, 16), nn.Flatten(0, 0), nn.Tanh(), nn.Linear(16, 1))
"""


@pytest.mark.parametrize(
    "name", ["plain", "skip", "bound", "hooked", "gradient_hooked", "frozen", "twice", "tied", "writing", "apart"]
)
def test_a_network_of_one_s_own_is_trained_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks with their own forward, hooks, shared or frozen weights are not stacked."""
    (tmp_path / f"own_chains_{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    sweep = tiny_sweep(
        data=[DATA["drawn"]],
        model=[{"name": f"own_chains_{name}:{name}"}],
        optimizer=[{"name": "sgd", "lr": 0.1}],
        train={"steps": 8, "batch_size": "full", "checkpoints": 1},
    )
    runs = begin(sweep.cells[0], [0, 1])
    assert stackable(runs[0]) == (name == "plain")
    inputs = [run.materials.x_train.clone() for run in runs]
    for run in runs:
        run.record()
    starts = [{key: value.detach().clone() for key, value in run.model.state_dict().items()} for run in runs]
    if stackable(runs[0]):
        together = Together(runs)
        for _ in range(8):
            assert together.advance()
        together.part()
    else:
        for run in runs:
            for _ in range(8):
                run.advance()
    for run, start, own in zip(runs, starts, inputs, strict=True):
        model = run.model
        assert run.materials.x_train.equal(own)
        found = {key: value.detach().clone() for key, value in model.state_dict().items()}
        model.load_state_dict(start)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for _ in range(8):
            loss = run.loss(model(own.clone()), run.materials.y_train)
            for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                parameter.data -= 0.1 * gradient
        expected = model.state_dict()
        assert any(not torch.equal(expected[key], start[key]) for key in start)
        for key, value in found.items():
            torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-6)
