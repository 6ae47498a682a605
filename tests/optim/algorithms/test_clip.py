"""Clipping by the norm of all gradients together, for each network alone if networks are stacked."""

import copy
import math

import pytest
import torch
from torch import nn

from nfa.optim import clip_
from tests.optim.families import random


def test_clipping_shortens_all_gradients_together_and_only_long_ones() -> None:
    for norm in (0.1, 1e9, None):
        network = nn.Linear(5, 3).double()
        network.weight.grad, network.bias.grad = random((3, 5), 0), random((3,), 1)
        other = copy.deepcopy(network)
        other.weight.grad, other.bias.grad = network.weight.grad.clone(), network.bias.grad.clone()
        before = clip_(network.parameters(), norm)
        expected = nn.utils.clip_grad_norm_(other.parameters(), norm or math.inf)
        torch.testing.assert_close(network.weight.grad, other.weight.grad, rtol=1e-5, atol=0)
        if norm is None:
            assert before is None
        else:
            assert before is not None
            torch.testing.assert_close(before, expected)
            if norm == 1e9:
                assert torch.equal(network.weight.grad, other.weight.grad)


def test_clipping_is_by_network_where_stacked_and_leaves_a_zero_gradient() -> None:
    weight, bias = torch.zeros(3, 2, 2), torch.zeros(3)
    weight.grad, bias.grad = torch.tensor([3.0, 0.3, 0.0]).reshape(3, 1, 1) * torch.eye(2), torch.zeros(3)
    norms = clip_([weight, bias, torch.zeros(3)], 1.0, stacked=True)
    assert norms is not None
    torch.testing.assert_close(norms, torch.tensor([3.0, 0.3, 0.0]) * math.sqrt(2))
    after = torch.linalg.vector_norm(weight.grad.flatten(1), dim=1)
    torch.testing.assert_close(after, torch.tensor([1.0, 0.3 * math.sqrt(2), 0.0]))


@pytest.mark.parametrize("norm", [-1.0, 0.0, math.nan])
def test_a_limit_that_is_not_positive_is_refused_and_changes_no_gradient(norm: float) -> None:
    weight = torch.zeros(2, requires_grad=True)
    weight.grad = torch.ones(2)
    with pytest.raises(ValueError, match=f"norm: {norm} must be more than 0, or None not to clip"):
        clip_([weight], norm)
    assert torch.equal(weight.grad, torch.ones(2))
