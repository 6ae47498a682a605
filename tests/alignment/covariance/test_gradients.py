"""dL/dW against torch's own backward pass."""

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import frame, measure, weight_gradients
from nfa.losses import LOSSES
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.networks import CASES, Case, layers_of, squared_error, targets_for


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("batch_size", [250, 7])
def test_equals_backward(case: Case, batch_size: int) -> None:
    model, inputs = case.network(), case.inputs()
    targets = targets_for(model.eval(), inputs)
    found = weight_gradients(model.train(), inputs, targets, squared_error, batch_size=batch_size)
    squared_error(model.eval()(inputs.clone()), targets).backward()
    for name, gradient in found.items():
        expected = model.get_submodule(name).get_parameter("weight").grad
        assert expected is not None
        assert_matrix_close(gradient, expected.reshape(gradient.shape), 1e-12, name)


def test_frozen_parameters() -> None:
    case = CASES[0]
    model, inputs = case.network(), case.inputs()
    targets = targets_for(model, inputs)
    expected = weight_gradients(model, inputs, targets, squared_error)
    for name, gradient in weight_gradients(model.requires_grad_(False), inputs, targets, squared_error).items():
        assert_matrix_close(gradient, expected[name], 0.0, name)


def test_a_shared_weight_has_one_gradient() -> None:
    """A weight that is used twice has the sum over its uses, also if one use is transposed."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False)).double()
    model[2].weight = model[0].weight
    inputs = torch.randn(6, 3, dtype=torch.float64)
    found = weight_gradients(model, inputs, inputs.flip(0), squared_error)
    squared_error(model(inputs), inputs.flip(0)).backward()
    total = model.get_parameter("0.weight").grad
    assert total is not None
    assert list(found) == ["0"]
    assert_matrix_close(found["0"], total, 1e-12)


class Autoencoder(nn.Module):
    """W^T tanh(W x)."""

    def __init__(self) -> None:
        """Make the weight."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 3)."""
        return torch.tanh(x @ self.weight.T) @ self.weight


def test_a_weight_in_two_orientations_has_its_gradient_in_both() -> None:
    model, inputs = Autoencoder(), torch.randn(6, 3, dtype=torch.float64)
    found = weight_gradients(model, inputs, inputs.flip(0), squared_error)
    squared_error(model(inputs), inputs.flip(0)).backward()
    assert model.weight.grad is not None
    assert_matrix_close(found[""], model.weight.grad, 1e-12)
    assert_matrix_close(found["^T"], model.weight.grad.T, 1e-12)


@pytest.mark.parametrize("heads", [False, True])
def test_parts_of_a_weight_have_parts_of_its_gradient(heads: bool) -> None:
    model = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True).double()
    inputs = torch.randn(5, 3, 6, dtype=torch.float64)
    found = weight_gradients(model, inputs, inputs.flip(0), squared_error, heads=heads)
    squared_error(model(inputs), inputs.flip(0)).backward()
    expected = model.get_parameter("self_attn.in_proj_weight").grad
    assert expected is not None
    names = [f"self_attn.{part}.{head}" if heads else f"self_attn.{part}" for part in "qkv" for head in (0, 1)]
    for name, rows in zip(dict.fromkeys(names), expected.chunk(6 if heads else 3), strict=True):
        assert_matrix_close(found[name], rows, 1e-12, name)


def test_targets_come_with_the_batches_or_on_their_own() -> None:
    case = CASES[0]
    model, inputs = case.network(), case.inputs()
    targets = targets_for(model, inputs)
    expected = weight_gradients(model, inputs, targets, squared_error)
    pairs = list(zip(inputs.split(7), targets.split(7), strict=True))
    for found in (
        weight_gradients(model, pairs, None, squared_error),
        weight_gradients(model, [list(pair) for pair in pairs], None, squared_error, batch_size=2),
        weight_gradients(model, inputs.split(5), targets, squared_error),
    ):
        for name, gradient in expected.items():
            assert_matrix_close(found[name], gradient, 1e-12, name)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_by_name(name: str) -> None:
    case = CASES[0]
    model, inputs = case.network(), case.inputs()
    targets = (
        torch.nn.functional.one_hot(torch.arange(24) % 3).double() - 1 / 3
    )  # centred one-hot targets: the logistic loss takes their signs
    table = measure(model, inputs, targets=targets, loss=name, initial=model)
    expected = frame(
        layers_of(model, inputs),
        initial=layers_of(model, inputs),
        gradients=weight_gradients(model, inputs, targets, LOSSES[name]),
    )
    pd.testing.assert_frame_equal(table, expected)
    limits = table[(table.quantity == "c_nfc") & (table.layer == "0") & (table.power == "1")]
    assert limits.value.notna().all()


def test_no_targets() -> None:
    case = CASES[0]
    with pytest.raises(ValueError, match=r"^targets: none given, and the batches hold none$"):
        weight_gradients(case.network(), case.inputs(), None, squared_error)


def test_as_many_targets_as_inputs() -> None:
    with pytest.raises(ValueError, match=r"^24 inputs but 3 targets: one target per sample is needed$"):
        weight_gradients(CASES[0].network(), CASES[0].inputs(), torch.zeros(3, 3), squared_error)
