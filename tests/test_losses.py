"""Losses refuse targets of which they would silently make something else."""

import re

import pytest
import torch

from nfa.losses import LOSSES, Loss, cross_entropy


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
@pytest.mark.parametrize(("outputs", "targets"), [((6, 1), (6,)), ((6,), (6, 1)), ((6, 3), (6, 1)), ((6, 3), (6,))])
def test_targets_of_another_shape_are_refused_not_broadcast(
    loss: Loss, outputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"outputs of shape {outputs} and targets of {targets}")):
        loss(torch.randn(outputs), torch.ones(targets))


@pytest.mark.parametrize("shape", [(6, 1), (6,), (6, 2, 3)])
def test_cross_entropy_refuses_outputs_that_are_not_one_for_each_class(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"needs outputs \(n, classes\), two or more; one sample's here is"):
        cross_entropy(torch.randn(shape), torch.ones(shape))
