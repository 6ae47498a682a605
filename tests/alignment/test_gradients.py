"""dL/dW against torch's own backward pass."""

import pytest
import torch
from torch import nn

from nfa.alignment import weight_gradients
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.networks import CASES, Case, squared_error, targets_for


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
        assert_matrix_close(gradient, expected.flatten(1), 1e-12, name)


def test_frozen_parameters() -> None:
    case = CASES[0]
    model, inputs = case.network(), case.inputs()
    targets = targets_for(model, inputs)
    expected = weight_gradients(model, inputs, targets, squared_error)
    for name, gradient in weight_gradients(model.requires_grad_(False), inputs, targets, squared_error).items():
        assert_matrix_close(gradient, expected[name], 0.0, name)


def test_a_shared_weight_has_one_gradient_per_path() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False)).double()
    model[2].weight = model[0].weight
    inputs = torch.randn(6, 3, dtype=torch.float64)
    found = weight_gradients(model, inputs, inputs.flip(0), squared_error)
    squared_error(model(inputs), inputs.flip(0)).backward()
    total = model.get_parameter("0.weight").grad
    assert total is not None
    assert_matrix_close(found["0"] + found["2"], total, 1e-12)
    assert not torch.allclose(found["0"], found["2"])


def test_as_many_targets_as_inputs() -> None:
    with pytest.raises(ValueError, match=r"^24 inputs but 3 targets: one target per sample is needed$"):
        weight_gradients(CASES[0].network(), CASES[0].inputs(), torch.zeros(3, 3), squared_error)
