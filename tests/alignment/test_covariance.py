"""K against per-sample Jacobians, and what must not change it."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from nfa.alignment import covariances
from nfa.alignment.layers import measurable_layers
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.networks import CASES, Case, trained
from tests.alignment.reference import reference_covariance


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_jacobians(case: Case) -> None:
    model, inputs = trained(case.network(), case.inputs()).train(), case.inputs()
    measured = covariances(model, inputs)
    plain = deepcopy(model).eval()
    assert measured.keys() == measurable_layers(model).keys()
    for name, layer in measured.items():
        expected = reference_covariance(plain, name, inputs.clone())
        assert_matrix_close(layer.covariance, expected, 1e-12, f"K of {name}")
        assert layer.covariance.dtype == layer.weight.dtype == torch.float64
        assert (layer.n, layer.outputs) == (24, model(inputs.clone()).shape[1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cutting_into_batches_changes_nothing(case: Case) -> None:
    model, inputs = case.network(), case.inputs()
    whole = covariances(model, inputs)
    for cut in (covariances(model, inputs, batch_size=7), covariances(model, iter(inputs.split([1, 20, 3])))):
        for name, layer in whole.items():
            assert_matrix_close(cut[name].covariance, layer.covariance, 1e-13, name)
            assert cut[name].n == layer.n


def test_float32_is_close_to_float64() -> None:
    case = CASES[0]
    exact = covariances(case.network(), case.inputs())
    single = covariances(case.network().float(), case.inputs().float())
    for name, layer in exact.items():
        assert_matrix_close(single[name].covariance, layer.covariance, 1e-5, name)
        assert single[name].resolution == torch.finfo(torch.float32).eps


def test_parameters_need_not_require_gradients() -> None:
    case = CASES[2]
    frozen = case.network().requires_grad_(False)
    for name, layer in covariances(case.network(), case.inputs()).items():
        assert_matrix_close(covariances(frozen, case.inputs())[name].covariance, layer.covariance, 0.0, name)


def test_tokens_through_a_frozen_embedding() -> None:
    """Nothing before the first layer carries a gradient: neither the input nor a parameter."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(6, 2))
    model = model.double()
    tokens = torch.randint(0, 9, (12, 2), generator=torch.Generator().manual_seed(0))
    trainable = covariances(model, tokens)
    frozen = covariances(model.requires_grad_(False), tokens)
    for name in ("1", "4"):
        assert_matrix_close(trainable[name].covariance, reference_covariance(model, name, tokens), 1e-12, name)
        assert_matrix_close(frozen[name].covariance, trainable[name].covariance, 0.0, name)


def test_readout_has_identity_covariance() -> None:
    for case in CASES:
        readout = list(covariances(case.network(), case.inputs()).values())[-1]
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
    expected = covariances(model, inputs)["0"].covariance[permutation][:, permutation]
    assert_matrix_close(covariances(permuted, inputs)["0"].covariance, expected, 1e-13)


def test_chosen_layers_keep_their_place() -> None:
    case = CASES[0]
    whole, part = covariances(case.network(), case.inputs()), covariances(case.network(), case.inputs(), layers=["2"])
    assert list(part) == ["2"]
    assert (part["2"].index, part["2"].depth_from_output, part["2"].chain_length) == (1, 1, 3)
    assert_matrix_close(part["2"].covariance, whole["2"].covariance, 0.0)


def test_a_single_layer_is_a_network() -> None:
    layer = covariances(nn.Linear(4, 3), torch.randn(5, 4))[""]
    assert torch.equal(layer.covariance, torch.eye(3, dtype=torch.float64))
    assert (layer.index, layer.depth_from_output, layer.chain_length) == (0, 0, 1)
