"""Order of the layers, their depth from the output, and networks that are chains or are not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import measure, measure_covariances
from nfa.alignment.covariance.layer_covariances import LayerCovariance
from tests.alignment.architectures import ARCHITECTURES, Net, draw
from tests.alignment.networks import CASES, Case, layers_of

Forward = Callable[[Tensor, Tensor], Tensor]


def places(measured: dict[str, LayerCovariance]) -> dict[str, tuple[int, int]]:
    return {name: (layer.index, layer.depth_from_output) for name, layer in measured.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_chains(case: Case) -> None:
    measured = layers_of(case.network(), case.inputs())
    lengths = {layer.chain_length for layer in measured.values()}
    assert lengths == ({len(measured)} if case.chain else {None})


def test_residual_depths() -> None:
    assert places(layers_of(CASES[3].network(), CASES[3].inputs())) == {
        "first": (0, 2),
        "block": (1, 1),
        "readout": (2, 0),
    }


def test_a_repeated_module_counts_each_call() -> None:
    assert places(layers_of(CASES[4].network(), CASES[4].inputs())) == {
        "token": (0, 3),
        "shared": (1, 2),
        "readout": (2, 0),
    }


class SkipFromInput(nn.Module):
    """The input skips the first layer; the layers are registered in another order than they are called."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.late, self.early = nn.Linear(3, 2), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        return self.late(x + torch.relu(self.early(x)))  # type: ignore[no-any-return]


class Gated(nn.Module):
    """Two layers side by side."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.value, self.gate, self.readout = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        return self.readout(self.value(x) * torch.sigmoid(self.gate(x)))  # type: ignore[no-any-return]


class FunctionalWeight(nn.Module):
    """A weight that is multiplied outside of any module."""

    def __init__(self) -> None:
        """Make the weights."""
        super().__init__()
        self.weight, self.readout = nn.Parameter(torch.randn(4, 3)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        return self.readout(torch.tanh(x @ self.weight.T))  # type: ignore[no-any-return]


def test_a_skip_from_the_input_is_no_chain() -> None:
    measured = layers_of(SkipFromInput(), torch.randn(4, 3))
    assert places(measured) == {"early": (0, 1), "late": (1, 0)}
    assert measured["early"].chain_length is None


def test_parallel_layers_are_no_chain() -> None:
    measured = layers_of(Gated(), torch.randn(4, 3))
    assert places(measured) == {"value": (0, 1), "gate": (1, 1), "readout": (2, 0)}
    assert measured["value"].chain_length is None


def test_a_weight_that_no_module_multiplies_is_a_layer() -> None:
    measured = layers_of(FunctionalWeight(), torch.randn(4, 3))
    assert places(measured) == {"": (0, 1), "readout": (1, 0)}
    assert measured["readout"].chain_length == 2


def test_a_weight_used_out_of_sight_is_no_chain() -> None:
    """With an embedding the chain is not known: its rows may be the input, or anything else."""
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    measured = layers_of(model, torch.randint(5, (6, 2)))
    assert places(measured) == {"2": (0, 1), "4": (1, 0)}
    assert measured["2"].chain_length is None


def test_layers_that_are_left_out_count_in_a_chain() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(100, 2)
    )
    measured = layers_of(model, torch.randn(3, 2, 4, 4))
    assert places(measured) == {"0": (0, 2), "5": (1, 0)}
    assert measured["0"].chain_length == 3


class Counted(nn.Module):
    """An unused layer, an added parameter and a scale are not layers of the chain."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.idle, self.readout = nn.Linear(3, 4), nn.Linear(3, 3), nn.Linear(4, 2)
        self.shift, self.scale = nn.Parameter(torch.randn(1, 4)), nn.Parameter(torch.randn(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        return self.readout(torch.tanh(self.first(x) * self.scale + self.shift))  # type: ignore[no-any-return]


def test_what_multiplies_no_sample_does_not_count() -> None:
    measured = layers_of(Counted(), torch.randn(5, 3))
    assert places(measured) == {"first": (0, 1), "readout": (1, 0)}
    assert measured["first"].chain_length == 2


def test_attention_is_no_chain() -> None:
    model = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    measured = layers_of(model, torch.randn(4, 3, 6))
    assert places(measured) == {
        "self_attn.q": (0, 4),
        "self_attn.k": (1, 4),
        "self_attn.v": (2, 4),
        "self_attn.out_proj": (3, 3),
        "linear1": (4, 2),
        "linear2": (5, 1),
    }  # a layer norm follows linear2
    assert {layer.chain_length for layer in measured.values()} == {None}


class Autoencoder(nn.Module):
    """W^T tanh(W x)."""

    def __init__(self) -> None:
        """Make the weight."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 5))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 5) -> (n, 5)."""
        return torch.tanh(x @ self.weight.T) @ self.weight


def test_a_weight_in_two_orientations_is_two_layers_of_a_chain() -> None:
    measured = layers_of(Autoencoder(), torch.randn(6, 5))
    assert places(measured) == {"": (0, 1), "^T": (1, 0)}
    assert measured[""].chain_length == 2


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("readout", [lambda h, a: h @ a, lambda h, a: h @ a[:, None]], ids=["vector", "matrix"])
def test_a_vector_is_a_readout_as_a_matrix_of_one_column_is(readout: Forward, n: int) -> None:
    model = Net(
        lambda m, x: readout(torch.relu(torch.relu(x @ m.first) @ m.second), m.a),
        first=draw(3, 4),
        second=draw(4, 5),
        a=draw(5),
    )
    measured = layers_of(model, torch.randn(n, 3))
    assert places(measured) == {"first": (0, 2), "second": (1, 1), "a": (2, 0)}
    assert {layer.chain_length for layer in measured.values()} == {3}
    table = measure(model, torch.randn(9, 3)).query("power == 'depth matched'")
    assert not table.value.isna().any()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_loop_over_the_samples_is_the_chain_of_one_sample(n: int) -> None:
    case = next(case for case in ARCHITECTURES if case.name == "W @ x, sample by sample")
    measured = layers_of(case.network(), case.inputs(n))
    assert places(measured) == {"w": (0, 1), "a": (1, 0)}
    assert {layer.chain_length for layer in measured.values()} == {2}


@pytest.mark.parametrize("name", ["states written into a buffer", "states read from a buffer"])
def test_states_that_go_through_a_buffer(name: str) -> None:
    case = next(case for case in ARCHITECTURES if case.name == name)
    measured = layers_of(case.network(), case.inputs())
    assert places(measured) == {"u": (0, 4), "w": (1, 4), "readout": (2, 0)}


def around(m: Net, x: Tensor) -> Tensor:
    x = x.float() * 2
    return m.readout(x + torch.relu(m.first(x)))  # type: ignore[no-any-return, operator]


def through(m: Net, x: Tensor) -> Tensor:
    return m.readout(torch.relu(m.first(x.float() * 2)))  # type: ignore[no-any-return, operator]


@pytest.mark.parametrize(("forward", "length"), [(around, None), (through, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_samples_of_whole_numbers_that_skip_a_layer_make_no_chain(
    forward: Forward, length: int | None, dtype: torch.dtype
) -> None:
    """Autograd does not follow whole numbers, so its graph lacks the skip connection from the input."""
    model = Net(forward, first=nn.Linear(4, 4), readout=nn.Linear(4, 2))
    measured = layers_of(model, torch.arange(12).reshape(3, 4).to(dtype))
    assert {layer.chain_length for layer in measured.values()} == {length}


MAPS: dict[str, tuple[Forward, int]] = {
    "itself": (lambda h, _: h, 0),
    "scaled": (lambda h, _: -3 * h, 0),
    "mean over positions": (lambda h, _: h.mean(1), 0),
    "one position": (lambda h, _: h[:, 0], 0),
    "positions last": (lambda h, _: h.mT, 0),
    "weighted positions": (lambda h, _: (h[..., :1].detach().softmax(1) * h).sum(1), 0),
    "softmax": (lambda h, _: h.softmax(-1), 1),
    "ReLU": (lambda h, _: torch.relu(h), 1),
    "tanh of small numbers": (lambda h, _: torch.tanh(0.1 * h), 1),
    "committee": (lambda h, _: torch.relu(h).mean((1, 2)), 1),
    "norm": (lambda h, _: nn.functional.layer_norm(h, (5,)), 1),
    "fixed matrix": (lambda h, m: torch.relu(h) @ m, 1),
    "diagonal": (lambda h, m: h * m[:, 0], 1),
}


@pytest.mark.parametrize("estimator", ["exact", "sketched"])
@pytest.mark.parametrize("name", MAPS)
def test_only_a_layer_whose_k_is_a_multiple_of_the_identity_is_a_readout(name: str, estimator: str) -> None:
    """A map after the last layer counts as a product: else its layer would be left out of means as a known answer."""
    last, depth = MAPS[name]
    model = Net(lambda m, x: last(m.w(torch.relu(m.first(x))), m.fixed), first=nn.Linear(4, 6), w=nn.Linear(6, 5))
    model.register_buffer("fixed", torch.randn(5, 3))
    measured = layers_of(model, torch.randn(7, 2, 4), estimator=estimator)
    assert places(measured) == {"first": (0, depth + 1), "w": (1, depth)}
    assert {layer.chain_length for layer in measured.values()} == {2 + depth}
    if estimator == "exact":
        k = measured["w"].covariance
        identity = k.diagonal().mean() * torch.eye(len(k), dtype=k.dtype)
        assert torch.allclose(k, identity, rtol=1e-5, atol=1e-6 * k.abs().max().item()) == (depth == 0)


def test_a_layer_keeps_the_place_of_the_first_measurement() -> None:
    """A batch norm that has learned nothing leaves K = I, and later does not."""
    norm = nn.BatchNorm1d(2)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), norm)
    first = measure_covariances(model, torch.randn(6, 4))
    with torch.no_grad():
        norm.weight[0] = 2.0
    later = measure_covariances(model, torch.randn(6, 4), like=first.survey)
    assert places(later.layers) == places(first.layers) == {"0": (0, 1), "2": (1, 0)}
