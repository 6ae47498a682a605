"""A single sample is run as two copies, unless a network runs on single samples only."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nfa
from nfa.alignment import measure, measure_covariances, weight_gradients
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.networks import squared_error


class Counting(nn.Module):
    """Records the sizes of its batches; transposes after BatchNorm, so that the gradient comes back transposed."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.embed, self.norm = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)
        self.mix, self.readout = nn.Linear(6, 6), nn.Linear(6, 2)
        self.norm.weight.data.normal_()
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 4, 4) -> (n, 2)."""
        self.sizes = [*self.sizes, len(x)]
        SEEN.append(len(x))
        tokens = self.norm(self.embed(x)).flatten(2).transpose(1, 2)  # its gradient comes back transposed
        return self.readout(torch.tanh(self.mix(tokens)).mean(1))  # type: ignore[no-any-return]


SEEN: list[int] = []


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    SEEN.clear()
    torch.manual_seed(0)


def test_a_transposed_gradient_into_batch_norm_passes() -> None:
    for _ in range(5):
        model = Counting()
        table = nfa.check(model, torch.randn(6, 3, 4, 4))
        assert table.passed.all(), table
    assert min(SEEN) > 1


@pytest.mark.parametrize("options", [{}, {"estimator": "sketched"}, {"samples": 5}, {"batch_size": 1}], ids=str)
@pytest.mark.parametrize("n", [1, 2, 5, 9, 33])
def test_no_batch_of_one(n: int, options: dict[str, Any]) -> None:
    model = Counting().double()
    inputs = torch.randn(n, 3, 4, 4).double()
    measure_covariances(model, inputs, **{"batch_size": 4} | options)
    weight_gradients(model, inputs, torch.zeros(n, 2).double(), squared_error, batch_size=4)
    nfa.left_out(model, inputs)
    assert SEEN.count(1) == (n == 1)  # once, to compare the sample alone with the sample beside its copy


@pytest.mark.parametrize("estimator", ["exact", "sketched"])
def test_a_single_sample_counts_once(estimator: str) -> None:
    model, inputs = Counting().double(), torch.randn(9, 3, 4, 4).double()
    options: dict[str, Any] = {"estimator": "exact"}
    whole = measure_covariances(model, inputs, **options).layers
    single = [measure_covariances(model, part, **options).layers for part in inputs.split(1)]
    ones = measure_covariances(model, inputs, batch_size=1, **options).layers
    for name, layer in whole.items():
        mean = torch.stack([found[name].covariance for found in single]).mean(0)
        assert_matrix_close(mean, layer.covariance, 1e-12, name)
        assert_matrix_close(ones[name].covariance, layer.covariance, 1e-12, name)
        assert single[0][name].n == 1
    sketched = measure(model, inputs[:1], estimator="sketched", probes=2000)
    exact = measure(model, inputs[:1], estimator="exact")
    chosen = (exact.quantity == "stable_rank_k") & (exact.layer != "readout")
    assert sketched[chosen].value.to_numpy() == pytest.approx(exact[chosen].value.to_numpy(), rel=0.1)
    readout = measure_covariances(model, inputs[:1], estimator="sketched").layers["readout"]
    assert torch.equal(readout.covariance, torch.eye(2, dtype=torch.float64))


def test_gradients_of_a_single_sample_count_once() -> None:
    model, inputs, targets = Counting().double(), torch.randn(5, 3, 4, 4).double(), torch.randn(5, 2).double()
    whole = weight_gradients(model, inputs, targets, squared_error)
    parts = weight_gradients(model, inputs, targets, squared_error, batch_size=4)
    for name, gradient in whole.items():
        assert_matrix_close(parts[name], gradient, 1e-12, name)


class OneGraph(nn.Module):
    """A graph is one sample: its nodes are mixed, and the network takes one graph only."""

    def __init__(self) -> None:
        """Make the layers and the neighbours."""
        super().__init__()
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 2)
        self.register_buffer("neighbours", torch.rand(7, 7))

    def forward(self, x: Tensor) -> Tensor:
        """(1, 7, 3) -> (1, 7, 2)."""
        nodes = x.reshape(7, 3)
        return self.second(torch.tanh(self.neighbours @ self.first(nodes)))[None]  # type: ignore[no-any-return]


class WithinTheBatch(nn.Module):
    """Normalises over the batch; with one sample, over its positions."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 7, 3) -> (n, 7, 2)."""
        h = torch.tanh(self.first(x))
        return self.second(h - h.mean((0, 1)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [OneGraph, WithinTheBatch])
def test_a_network_that_takes_one_sample_runs_on_it_alone(kind: type[nn.Module]) -> None:
    model, inputs = kind().double(), torch.randn(1, 7, 3).double()
    layers = measure_covariances(model, inputs).layers

    def readout(h: Tensor) -> Tensor:
        if kind is OneGraph:
            return model.second(torch.tanh(model.neighbours @ h))  # type: ignore[operator, no-any-return]
        h = torch.tanh(h)
        return model.second(h - h.mean(0))  # type: ignore[operator, no-any-return]

    jacobian = torch.autograd.functional.jacobian(readout, model.first(inputs[0]))  # type: ignore[operator]
    rows = jacobian.flatten(0, 1).flatten(0, 1)
    assert_matrix_close(layers["first"].covariance, rows.T @ rows, 1e-12)


@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_network_of_one_sample_measures_many_one_by_one(one_by_one: bool) -> None:
    """Such a network does not run on the samples of a trial together."""
    model, inputs = OneGraph().double(), torch.randn(4, 7, 3).double()
    given = list(inputs.split(1)) if one_by_one else inputs
    found = measure_covariances(model, given, batch_size=1).layers
    parts = [measure_covariances(model, sample).layers for sample in inputs.split(1)]
    for name, layer in found.items():
        mean = torch.stack([part[name].covariance for part in parts]).mean(0)
        assert_matrix_close(layer.covariance, mean, 1e-12, name)


def test_a_small_first_batch_does_not_make_all_batches_small() -> None:
    model, inputs = Counting(), torch.randn(200, 3, 4, 4)
    for parts in (inputs, [inputs[:3], inputs[3:]], [inputs[:1], inputs[1:]]):
        SEEN.clear()
        measure_covariances(model, parts, estimator="exact")
        assert len(SEEN) < 20, len(SEEN)
