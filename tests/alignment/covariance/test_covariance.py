"""K against per-sample Jacobians, and conditions that must not change K."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from nfa.alignment import covariances, left_out, matrices, measure, measure_covariances
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.jacobians import reference_covariance
from tests.alignment.networks import CASES, Case, layers_of, trained


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_jacobians(case: Case) -> None:
    model, inputs = trained(case.network(), case.inputs()).train(), case.inputs()
    measured = measure_covariances(model, inputs)
    plain = deepcopy(model).eval()
    assert list(measured.layers) == [name.removesuffix(".weight") for name in weights_of_layers(model)]
    assert measured.left_out == left_out(model, inputs) == {}
    for name, layer in measured.layers.items():
        expected = reference_covariance(plain, name, inputs.clone())
        assert_matrix_close(layer.covariance, expected, 1e-12, f"K of {name}")
        assert layer.covariance.dtype == layer.weight.dtype == torch.float64
        assert (layer.n, layer.outputs) == (24, model(inputs.clone()).shape[1])
        assert (layer.estimator, layer.probes, layer.population, layer.blocks) == ("exact", 0, None, None)


def weights_of_layers(model: nn.Module) -> list[str]:
    """Names of weights of two or more dimensions in the order of registration, in which these cases call them."""
    return [name for name, parameter in model.named_parameters() if parameter.dim() >= 2]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_shown_is_what_is_measured(case: Case) -> None:
    model, inputs = case.network(), case.inputs()
    measured = layers_of(model, inputs)
    shown = covariances(model, inputs)
    assert list(shown) == list(measured)
    for name, layer in measured.items():
        assert torch.equal(shown[name], layer.covariance)
        nfm, agop = matrices(model, inputs, name)
        weight, covariance = (
            torch.block_diag(*(matrix if matrix.dim() == 3 else matrix[None]))
            for matrix in (layer.weight, layer.covariance)
        )
        assert_matrix_close(nfm, weight.T @ weight, 1e-13)
        assert_matrix_close(agop, weight.T @ covariance @ weight, 1e-13)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cutting_into_batches_changes_nothing(case: Case) -> None:
    model, inputs = case.network(), case.inputs()
    whole = layers_of(model, inputs)
    for cut in (layers_of(model, inputs, batch_size=7), layers_of(model, iter(inputs.split([1, 20, 3])))):
        for name, layer in whole.items():
            assert_matrix_close(cut[name].covariance, layer.covariance, 1e-13, name)
            assert cut[name].n == layer.n


@pytest.mark.parametrize(
    "options", [{}, {"samples": 10}, {"estimator": "sketched"}], ids=["exact", "drawn", "sketched"]
)
def test_every_way_to_give_the_samples_gives_the_same(options: dict[str, object]) -> None:
    case = CASES[0]
    model, inputs = case.network(), case.inputs(70)
    dataset = TensorDataset(inputs, torch.zeros(70))
    given = {
        "list": list(inputs.split(9)),
        "generator": (part for part in inputs.split([30, 1, 39])),
        "tuples": [(part, torch.zeros(len(part))) for part in inputs.split(11)],
        "loader of pairs": DataLoader(dataset, batch_size=13),
        "loader of tensors": DataLoader(inputs, batch_size=70),  # type: ignore[arg-type]
    }
    expected = layers_of(model, inputs, **options)
    for how, samples in given.items():
        for name, layer in layers_of(model, samples, **options).items():
            assert_matrix_close(layer.covariance, expected[name].covariance, 1e-12, f"{how}: {name}")
            assert layer.n == expected[name].n


def test_float32_is_close_to_float64() -> None:
    case = CASES[0]
    exact = layers_of(case.network(), case.inputs())
    single = layers_of(case.network().float(), case.inputs().float())
    for name, layer in exact.items():
        assert_matrix_close(single[name].covariance, layer.covariance, 1e-5, name)
        assert layer.resolution == torch.finfo(torch.float64).eps


def test_resolution_is_that_of_the_sums() -> None:
    """Few outputs are summed in float64, so that small eigenvalues stay; many in float32."""
    single = torch.finfo(torch.float32).eps
    for outputs, resolution in ((3, single**2), (5, single)):
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs))
        assert layers_of(model, torch.randn(5, 4))["0"].resolution == resolution


def test_parameters_need_not_require_gradients() -> None:
    case = CASES[2]
    frozen = case.network().requires_grad_(False)
    for name, layer in layers_of(case.network(), case.inputs()).items():
        assert_matrix_close(layers_of(frozen, case.inputs())[name].covariance, layer.covariance, 0.0, name)


def test_tokens_through_a_frozen_embedding() -> None:
    """Nothing before the first layer carries a gradient: neither the input nor a parameter."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(6, 2))
    model = model.double()
    tokens = torch.randint(0, 9, (12, 2), generator=torch.Generator().manual_seed(0))
    trainable = layers_of(model, tokens)
    frozen = layers_of(model.requires_grad_(False), tokens)
    for name in ("1", "4"):
        assert_matrix_close(trainable[name].covariance, reference_covariance(model, name, tokens), 1e-12, name)
        assert_matrix_close(frozen[name].covariance, trainable[name].covariance, 0.0, name)


def test_readout_has_identity_covariance() -> None:
    for case in CASES:
        readout = list(layers_of(case.network(), case.inputs()).values())[-1]
        assert readout.depth_from_output == 0
        assert torch.equal(readout.covariance, torch.eye(readout.outputs, dtype=torch.float64)), case.name


def test_permuting_hidden_units_permutes_k() -> None:
    case = CASES[0]
    model, inputs = case.network(), case.inputs()
    permutation = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    permuted = deepcopy(model)
    with torch.no_grad():
        first, second = permuted.get_submodule("0"), permuted.get_submodule("2")
        for parameter in first.parameters():
            parameter.copy_(parameter[permutation])
        second.get_parameter("weight").copy_(second.get_parameter("weight")[:, permutation])
    expected = covariances(model, inputs)["0"][permutation][:, permutation]
    assert_matrix_close(covariances(permuted, inputs)["0"], expected, 1e-13)


def test_chosen_layers_keep_their_place() -> None:
    case = CASES[0]
    whole, part = layers_of(case.network(), case.inputs()), layers_of(case.network(), case.inputs(), layers=["2"])
    assert list(part) == ["2"]
    assert (part["2"].index, part["2"].depth_from_output, part["2"].chain_length) == (1, 1, 3)
    assert_matrix_close(part["2"].covariance, whole["2"].covariance, 0.0)


def test_a_single_layer_is_a_network() -> None:
    layer = layers_of(nn.Linear(4, 3), torch.randn(5, 4))[""]
    assert torch.equal(layer.covariance, torch.eye(3, dtype=torch.float64))
    assert (layer.index, layer.depth_from_output, layer.chain_length) == (0, 0, 1)


class Sometimes(nn.Module):
    """Sends samples with a positive first entry through a layer; a batch may have no such sample."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.expert, self.readout = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        h = torch.tanh(self.first(x))
        chosen = x[:, 0] > 0
        if chosen.any():
            h = h.index_put((chosen.nonzero()[:, 0],), torch.tanh(self.expert(h[chosen])))
        return self.readout(h)  # type: ignore[no-any-return]


@pytest.mark.parametrize("estimator", ["exact", "sketched"])
def test_a_layer_that_some_samples_skip(estimator: str) -> None:
    model, inputs = Sometimes().double(), torch.randn(40, 3, dtype=torch.float64)
    inputs[:, 0] = torch.where(torch.arange(40) % 3 == 0, 1.0, -1.0)
    whole, cut = (covariances(model, inputs, estimator=estimator, batch_size=size) for size in (250, 1))
    for name, k in whole.items():
        assert_matrix_close(cut[name], k, 1e-12, name)
        if estimator == "exact":
            assert_matrix_close(k, reference_covariance(model, name, inputs), 1e-12, name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{"estimator": "exact", "samples": 30}, {"estimator": "sketched"}])
def test_a_layer_that_whole_blocks_skip_has_error_bars(options: dict[str, Any], dtype: torch.dtype) -> None:
    model, inputs = Sometimes().to(dtype), torch.randn(40, 3, dtype=dtype)
    inputs[:, 0] = torch.where(torch.arange(40) % 3 == 0, 1.0, -1.0)
    table = measure(model, inputs, batch_size=1, **options).query("quantity == 'uc_nfc' and power == '1'")
    assert set(table["layer"]) == {"first", "expert", "readout"}
    assert table["stderr"].notna().all(), table[["layer", "value", "stderr", "note"]]
