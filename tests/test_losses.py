"""Losses refuse targets of which they would silently make something else."""

import re

import pytest
import torch

from nfa.losses import LOSSES, Loss, cross_entropy, logistic


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
@pytest.mark.parametrize(("outputs", "targets"), [((6, 1), (6,)), ((6,), (6, 1)), ((6, 3), (6, 1)), ((6, 3), (6,))])
def test_targets_of_another_shape_are_refused_not_broadcast(
    loss: Loss, outputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"outputs of shape {outputs} and targets of {targets}")):
        loss(torch.randn(outputs), torch.ones(targets))


@pytest.mark.parametrize("shape", [(6, 1), (6,)])
def test_cross_entropy_refuses_a_single_output_of_which_it_is_always_0(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one output per sample tells no classes apart"):
        cross_entropy(torch.randn(shape), torch.ones(shape))


def test_logistic_refuses_targets_without_a_sign() -> None:
    with pytest.raises(ValueError, match="a target is 0, which has no sign: code two classes as -1 and 1, not 0 and 1"):
        logistic(torch.randn(4, 1), torch.tensor([[0.0], [1.0], [0.0], [1.0]]))
