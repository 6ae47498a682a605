"""Every kind of network against per-sample Jacobians; see ``architectures`` for the cases."""

from copy import deepcopy
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from nfa.alignment import covariances, measure, measure_covariances
from tests.alignment.architectures import ARCHITECTURES, Architecture, Net
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.jacobians import reference_layers
from tests.alignment.network.test_no_trace import state

every_architecture = pytest.mark.parametrize("case", ARCHITECTURES, ids=lambda case: case.name)


@every_architecture
def test_equals_jacobians(case: Architecture) -> None:
    model, inputs = case.network(), case.inputs()
    still = deepcopy(model).eval()
    plain = case.plain
    forward = None if plain is None else lambda x: plain(still, x)
    if forward is not None:
        with torch.no_grad():
            assert_matrix_close(forward(inputs), still(inputs), 1e-10, "the plain version's output")
    measured = measure_covariances(model, inputs, heads=case.heads)
    expected = reference_layers(still, inputs, forward)
    assert list(measured.layers) == list(expected)
    assert measured.left_out == case.left_out
    for name, layer in measured.layers.items():
        assert_matrix_close(layer.weight, expected[name].weight, 0.0, f"W of {name}")
        assert_matrix_close(layer.covariance, expected[name].covariance, 1e-10, f"K of {name}")


@every_architecture
def test_cutting_into_batches_changes_nothing(case: Architecture) -> None:
    model, inputs = case.network(), case.inputs(9)
    whole = measure_covariances(model, inputs, heads=case.heads)
    for size in (1, 4):
        cut = measure_covariances(model, inputs, heads=case.heads, batch_size=size)
        assert list(cut.layers) == list(whole.layers), size
        assert cut.left_out == whole.left_out, size
        for name, layer in whole.layers.items():
            assert_matrix_close(cut.layers[name].covariance, layer.covariance, 1e-10, f"K of {name}, {size} at a time")


def values(table: pd.DataFrame) -> pd.Series:
    """Index the values by layer, quantity and convention."""
    return table.set_index(["layer", "quantity", "correlation", "power"]).value


SOME = [
    case for case in ARCHITECTURES if case.name in ("conv grouped", "fused qkv, heads first, sdpa", "LSTM, 2 layers")
]
some_architectures = pytest.mark.parametrize("case", SOME, ids=lambda case: case.name)


@some_architectures
def test_every_value_is_the_same_however_the_samples_are_cut(case: Architecture) -> None:
    model, inputs = case.network(), case.inputs(20)
    whole = values(measure(model, inputs, initial=perturbed(model)))
    for given, size in ((inputs, 1), (inputs, 7), (DataLoader(inputs, batch_size=3), 250)):  # type: ignore[arg-type]
        cut = values(measure(model, given, initial=perturbed(model), batch_size=size))
        pd.testing.assert_series_equal(cut, whole, rtol=1e-9, atol=1e-10)


def perturbed(model: nn.Module) -> nn.Module:
    """Copy the network, and change its weights."""
    other = deepcopy(model)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=0.1)
    return other


@some_architectures
def test_all_samples_drawn_is_all_samples(case: Architecture) -> None:
    """An estimate for N samples from all N is the value itself, with no error."""
    model, inputs = case.network(), case.inputs(40)
    whole = values(measure(model, inputs, initial=perturbed(model)))
    drawn = measure(model, inputs, initial=perturbed(model), samples=40)
    pd.testing.assert_series_equal(values(drawn), whole, rtol=1e-9, atol=1e-10)
    power_one = drawn[(drawn.power == "1") & drawn.quantity.isin(["uc_nfc", "c_nfc", "w0_nfc"])]
    assert (power_one.stderr.dropna() < 1e-9).all()


@some_architectures
def test_a_sketch_does_not_depend_on_how_the_samples_are_cut(case: Architecture) -> None:
    model, inputs = case.network(), case.inputs(40)
    whole = values(measure(model, inputs, estimator="sketched"))
    for given, size in ((inputs, 1), (inputs, 7), (inputs.split(9), 250)):
        cut = values(measure(model, given, estimator="sketched", batch_size=size))
        pd.testing.assert_series_equal(cut, whole, rtol=1e-6, atol=1e-6)


@some_architectures
def test_leaves_no_trace(case: Architecture) -> None:
    model, inputs = case.network(), case.inputs(6)
    first = next(iter(model.parameters()))
    first.requires_grad_(False)
    first.grad = torch.ones_like(first)
    for options in ({}, {"estimator": "sketched"}, {"samples": 4}, {"layers": None, "batch_size": 2}):
        before, random, kept = state(model), torch.get_rng_state(), inputs.clone()
        switches = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled, torch.is_grad_enabled()
        measure(model, inputs, targets=torch.zeros(6, 2).double(), loss=loss_of_means, initial=model, **options)
        assert state(model) == before
        assert torch.equal(torch.get_rng_state(), random)
        assert torch.equal(inputs, kept)
        assert (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled, torch.is_grad_enabled()) == switches


def loss_of_means(outputs: Tensor, targets: Tensor) -> Tensor:
    """Average the squared error over positions, if there are any."""
    return (outputs.flatten(1, -2).mean(1) - targets if outputs.dim() > 2 else outputs - targets).square().mean()


@some_architectures
def test_works_where_autograd_is_off(case: Architecture) -> None:
    model, inputs = case.network(), case.inputs()
    expected = covariances(model, inputs)
    with torch.no_grad():
        found = covariances(model, inputs)
    for name, k in expected.items():
        assert torch.equal(found[name], k), name


@every_architecture
def test_many_probes_come_close(case: Architecture) -> None:
    """K from many sketches is near the exact K for every layer and call; closed forms are exact."""
    model, inputs = case.network(), case.inputs(16)
    exact = covariances(model, inputs, heads=case.heads)
    sketched = covariances(model, [inputs], heads=case.heads, estimator="sketched", probes=50)
    for name, k in exact.items():
        assert sketched[name].shape == k.shape, name
        off = (sketched[name] - k).norm() / k.norm()
        assert off < 0.2, (name, off)  # from 1,600 draws


def test_one_output_makes_the_sketch_exact() -> None:
    model, inputs = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double(), torch.randn(40, 4).double()
    sketched, exact = (measure(model, inputs, estimator=estimator) for estimator in ("sketched", "exact"))
    pd.testing.assert_frame_equal(sketched, exact)
    drawn = sketched.quantity.str.contains("haar|permuted|slope_error")  # an error bar of its own, or an error itself
    depends_on_k = sketched[~drawn & sketched.value.notna()]
    assert (depends_on_k.stderr == 0).all()


@pytest.mark.parametrize(
    "options", [{"estimator": "sketched"}, {"samples": 10}, {"estimator": "sketched", "samples": 10}], ids=str
)
def test_the_readout_is_in_closed_form(options: dict[str, Any]) -> None:
    model, inputs = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 6)).double(), torch.randn(40, 4).double()
    table = measure(model, inputs, **options)
    readout = table[(table.layer == "2") & (table.quantity == "uc_nfc") & (table.power == "1")]
    assert readout.value.tolist() == pytest.approx([1.0] * 3, abs=1e-12)
    assert readout.stderr.tolist() == pytest.approx([0.0] * 3, abs=1e-14)
    per_token = measure_covariances(model, inputs.view(8, 5, 4), **options).layers["2"]
    assert torch.equal(per_token.covariance, 5 * torch.eye(6, dtype=torch.float64))


def test_products_in_half_precision() -> None:
    """Autocast multiplies by copies of the weights; W is the weight itself and K is close to the float32 one."""

    def halved(m: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return m.body(x).float()  # type: ignore[no-any-return]

    body = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3))
    model, inputs = Net(halved, body=body), torch.randn(20, 2, 6)
    exact, found = measure_covariances(body, inputs).layers, measure_covariances(model, inputs)
    assert found.left_out == {}
    assert list(found.layers) == [f"body.{name}" for name in exact]
    for name, layer in exact.items():
        half = found.layers[f"body.{name}"]
        assert torch.equal(half.weight, layer.weight)
        assert_matrix_close(half.covariance, layer.covariance, 0.05, name)


def test_a_reentrant_checkpoint_hides_what_is_before_it() -> None:
    inner = nn.Sequential(nn.Linear(5, 5), nn.Tanh())

    def run(m: Any, x: Tensor) -> Tensor:
        return m.readout(checkpoint(m.body, m.first(x), use_reentrant=True))  # type: ignore[no-any-return]

    model = Net(run, first=nn.Linear(4, 5), body=inner, readout=nn.Linear(5, 2))
    inputs = torch.randn(6, 4)
    found = measure_covariances(model, inputs, layers=["readout"])
    assert "reentrant checkpoint" in found.left_out["body.0"]
    with pytest.raises((RuntimeError, ValueError), match="use_reentrant=False"):
        measure_covariances(model, inputs)


@pytest.mark.parametrize("layer", ["encoder.layers.1.linear1", "encoder.layers.0.self_attn.v"])
def test_permuting_hidden_units_changes_nothing(layer: str) -> None:
    """Permuting units of a feed-forward layer, or the values of a head with the columns of the output projection."""
    case = next(case for case in ARCHITECTURES if case.name == "transformer encoder, norm last")
    model, inputs = case.network(), case.inputs(12)
    permuted = deepcopy(model)
    with torch.no_grad():
        if layer.endswith("linear1"):
            block = permuted.get_submodule("encoder.layers.1")
            order = torch.tensor([3, 0, 5, 1, 4, 2])
            for name in ("linear1.weight", "linear1.bias"):
                block.get_parameter(name).copy_(block.get_parameter(name)[order].clone())
            reader = block.get_parameter("linear2.weight")
        else:
            block = permuted.get_submodule("encoder.layers.0.self_attn")
            order = torch.tensor([1, 0, 3, 2])  # within each of the two heads
            for name in ("in_proj_weight", "in_proj_bias"):
                block.get_parameter(name)[8:] = block.get_parameter(name)[8:][order].clone()
            reader = block.get_parameter("out_proj.weight")
        reader.copy_(reader[:, order].clone())
    expected = covariances(model, inputs)
    found = covariances(permuted, inputs)
    assert_matrix_close(found[layer], expected[layer][order][:, order], 1e-10)
    tables = [measure(network, inputs).query("not quantity.str.contains('haar')") for network in (model, permuted)]
    pd.testing.assert_series_equal(values(tables[1]), values(tables[0]), rtol=1e-8, atol=1e-9)
