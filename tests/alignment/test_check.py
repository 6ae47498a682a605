"""``nfa.check`` passes on correct measurements, and fails where they are made wrong on purpose."""

import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import nfa
from nfa.alignment import check as function
from nfa.alignment import measure_covariances
from nfa.alignment.check import COLUMNS, NO_FLOAT64
from nfa.alignment.covariance.layer_covariances import Measured
from tests.alignment.networks import CASES, Case

check_module = sys.modules[function.__module__]  # the package's attribute of this name is the function


class Tokens(nn.Module):
    """A small language model whose embedding is its readout, with einsum and a rotated projection."""

    def __init__(self, vocabulary: int = 11, width: int = 6) -> None:
        """Make the layers."""
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mixing = nn.Parameter(torch.randn(width, 2, 3))
        self.backwards = nn.Parameter(torch.randn(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, positions) -> (n, positions, vocabulary)."""
        x = self.embedding(tokens)
        x = x + self.attention(x, x, x)[0]
        x = x + torch.tanh(torch.einsum("nph,hij->npij", x, self.mixing)).flatten(2)
        x = x + torch.tanh((self.backwards @ x.mT).mT)
        return x @ self.embedding.weight.T  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """A fused recurrent network of two layers."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.lstm, self.readout = nn.LSTM(3, 4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, steps, 3) -> (n, 2)."""
        return self.readout(self.lstm(x)[0][:, -1])  # type: ignore[no-any-return]


class Experts(nn.Module):
    """One matrix for each of three groups of inputs, in a batched product."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.experts, self.bias = nn.Parameter(torch.randn(3, 4, 5)), nn.Parameter(torch.randn(3))
        self.readout = nn.Parameter(torch.randn(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 4) -> (n, 3)."""
        h = torch.bmm(x.transpose(0, 1), self.experts).tanh_()
        return torch.addmm(self.bias, h.sum(0), self.readout)


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d": (
        lambda: nn.Sequential(
            nn.Conv1d(4, 6, 3, 2, padding=2, dilation=2, groups=2), nn.GELU(), nn.Flatten(), nn.LazyLinear(3)
        ),
        (4, 9),
    ),
    "conv3d": (
        lambda: nn.Sequential(
            nn.Conv3d(2, 4, (2, 3, 1), (1, 2, 1), (1, 0, 1), padding_mode="circular"),
            nn.ReLU(inplace=True),
            nn.Conv3d(4, 4, 2, groups=4),
            nn.Flatten(),
            nn.LazyLinear(2),
        ),
        (2, 3, 5, 4),
    ),
    "same": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 4, padding="same"), nn.Tanh(), nn.Conv2d(2, 3, 5), nn.Flatten(0, 0)),
        (1, 6, 6),
    ),
    "recurrent": (Recurrent, (4, 3)),
    "experts": (Experts, (3, 4)),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), (3, 8)),
}


def built(make: Callable[[], nn.Module], *shape: int, n: int = 5) -> tuple[nn.Module, Tensor]:
    """A network with weights, and inputs, of fixed seeds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, inputs = make(), torch.randn(n, *shape)
        with torch.no_grad():
            model.eval()(inputs.clone())  # lazy modules
    return model, inputs


def assert_passes(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == COLUMNS
    assert len(table)
    assert table.passed.all(), table[~table.passed].to_string()
    assert table.error.max() < 1e-11, "float64 on both sides"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_small_networks_pass(case: Case) -> None:
    model, inputs = case.network(), case.inputs()
    table = nfa.check(model, inputs, samples=3)
    assert_passes(table)
    assert list(table.layer) == list(measure_covariances(model, inputs).layers)
    assert list(table.layer_index) == list(range(len(table)))
    assert not table.note.any()


WITHOUT_HEADS = ("conv1d", "conv3d", "same", "recurrent", "experts")


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_product_passes(name: str, heads: bool) -> None:
    make, shape = MODELS[name]
    model, inputs = built(make, *shape)
    if heads and name in WITHOUT_HEADS:
        with pytest.raises(ValueError, match="heads: no attention"):
            nfa.check(model, inputs, heads=heads)
        return
    table = nfa.check(model, inputs, heads=heads)
    assert_passes(table)
    assert not table.attrs["left_out"]


@pytest.mark.parametrize("heads", [False, True])
def test_a_language_model_with_tied_weights_passes_and_says_what_is_left_out(heads: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Tokens()
    tokens = torch.randint(11, (6, 4), generator=torch.Generator().manual_seed(0))
    table = nfa.check(model, tokens, heads=heads)
    assert_passes(table)
    assert set(table.note) == {"16 of 44 outputs"}
    assert ("attention.q.0" if heads else "attention.q") in set(table.layer)


def test_beyond_the_largest_side_random_directions_are_compared() -> None:
    model, inputs = built(lambda: nn.Sequential(nn.Linear(513, 3), nn.Tanh(), nn.Linear(3, 2)), 513)
    table = nfa.check(model, inputs)
    assert_passes(table)
    assert list(table.compared) == ["4 random directions", "matrix"]
    assert list(table["shape"]) == ["3 x 513", "2 x 3"]


def test_some_layers_and_batches_that_come_one_by_one() -> None:
    case = CASES[0]
    batches = iter([(part, part[:, 0]) for part in case.inputs().split(5)])
    table = nfa.check(case.network(), batches, layers=["2"])
    assert list(table.layer) == ["2"]
    assert_passes(table)


def test_a_dead_layer_passes_and_says_so() -> None:
    model, inputs = built(lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), 3)
    with torch.no_grad():
        model[2].weight.zero_()  # type: ignore[index]
    table = nfa.check(model, inputs)
    assert table.passed.all()
    assert table.note.tolist() == ["K is zero: no gradient reaches this layer on these samples", "W is zero"]


def test_the_network_is_left_as_it_was() -> None:
    model, inputs = built(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 30)), 3)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, given = torch.get_rng_state(), inputs.clone()
    nfa.check(model, inputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.dtype == before[name].dtype for name, value in model.state_dict().items())
    assert model.training
    assert not model._forward_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(inputs, given)


def wrong_scale(k: Tensor) -> Tensor:
    """Scale K, by two millionths too much."""
    return k * (1 + 2e-6)


def wrong_order(k: Tensor) -> Tensor:
    """Permute K, as if the rows of W stood in another order."""
    return k.roll(1, -1).roll(1, -2)


def wrong_outputs(k: Tensor) -> Tensor:
    """Make K as if the layer was missed on all samples but one."""
    return k / 4


@pytest.mark.parametrize("wrong", [wrong_scale, wrong_order, wrong_outputs])
def test_a_wrong_covariance_fails(wrong: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(*arguments: Any, **options: Any) -> Measured:
        measured = measure_covariances(*arguments, **options)
        first = next(iter(measured.layers.values()))
        first.covariance.copy_(wrong(first.covariance))
        return measured

    monkeypatch.setattr(check_module, "measure_covariances", spoiled)
    case = CASES[0]
    table = nfa.check(case.network(), case.inputs())
    assert table.passed.tolist() == [False, True, True]
    assert table.error[0] > 1e-6


def test_a_product_read_in_the_wrong_rows_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from nfa.alignment.network import operations

    monkeypatch.setattr(operations, "_flat", lambda gradient: gradient.flip(-1).flatten(0, -2)[None])
    readers: dict[Any, Any] = operations.READERS
    monkeypatch.setitem(readers, torch.ops.aten.mm.default, operations._matrix_product)
    model, inputs = built(
        lambda: nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False), nn.Tanh()), 3
    )
    assert not nfa.check(model, inputs).passed.any()


@pytest.mark.parametrize("bias", [True, False])
def test_a_network_that_is_bound_to_float32_is_checked_in_float32(bias: bool) -> None:
    """Torch says "Double" or "double", depending on the operation."""

    class Bound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 2, bias=bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.tanh(self.first(x)).float())  # type: ignore[no-any-return]

    table = nfa.check(Bound(), torch.randn(4, 3))
    assert table.passed.all()
    assert set(table.note) == {NO_FLOAT64}


class Making(nn.Module):
    """Makes tensors in its forward pass, and holds one that is no buffer."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.second, self.rotation = nn.Linear(3, 6), nn.Linear(6, 2), torch.eye(6)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        h = torch.zeros(len(x), 6) @ torch.eye(6) + torch.tanh(self.first(x)) @ self.rotation
        return self.second(h)  # type: ignore[no-any-return]


@pytest.mark.parametrize("default", [torch.float32, torch.bfloat16])
def test_tensors_that_the_network_makes_are_float64_too(default: torch.dtype) -> None:
    model, inputs = built(Making, 3)
    torch.set_default_dtype(default)
    try:
        assert_passes(nfa.check(model, inputs))
        assert torch.get_default_dtype() == default
        with pytest.raises(ValueError, match="float64"):
            nfa.check(nn.Sequential(model, nn.Linear(3, 2)), inputs)
        assert torch.get_default_dtype() == default
    finally:
        torch.set_default_dtype(torch.float32)
    assert model.rotation.dtype == torch.float32


class Squeezing(nn.Module):
    """Drops every axis of length one, including the axis of samples where a sample comes alone."""

    def __init__(self, outputs: int) -> None:
        """Make the layers."""
        super().__init__()
        self.conv, self.pool, self.readout = nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, height, width) -> (n, C), or (n,) for C = 1."""
        return self.readout(self.pool(torch.tanh(self.conv(x))).squeeze()).squeeze()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("outputs", "samples"), [(1, 4), (1, 1), (3, 4), (20, 4)])
def test_a_network_that_squeezes_its_outputs_passes(outputs: int, samples: int) -> None:
    model, inputs = built(lambda: Squeezing(outputs), 1, 5, 5)
    table = nfa.check(model, inputs, samples=samples)
    assert_passes(table)
    assert table["shape"].tolist() == ["4 x 9", f"{outputs} x 4"]


def test_an_exception_of_the_network_is_one_line_with_its_kind() -> None:
    def fail(_module: nn.Module, given: tuple[Tensor]) -> None:
        given[0][:, 2]

    model = nn.Linear(2, 3)
    model.register_forward_pre_hook(fail)
    with pytest.raises(ValueError, match="with autograd: IndexError: index 2 is out of bounds") as caught:
        nfa.check(model, torch.randn(2, 2))
    assert "\n" not in str(caught.value)


def test_a_network_that_passes_through_float32_inside_passes() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            h = (h.float() * torch.rsqrt(h.float().square().mean(-1, keepdim=True))).to(h.dtype)
            return self.second(functional.silu(h))  # type: ignore[no-any-return]

    model, inputs = built(Normed, 5)
    assert nfa.check(model, inputs).passed.all()


def test_an_unknown_layer_is_named() -> None:
    case = CASES[0]
    with pytest.raises(ValueError, match="'nowhere' is not measured"):
        nfa.check(case.network(), case.inputs(), layers=["nowhere"])
