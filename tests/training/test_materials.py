"""The data of a run."""

import pytest
import torch

from nfa.errors import UserError
from nfa.sweep.cells import Cell
from nfa.training import load_data
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")


def cells(**changes: object) -> tuple[Cell, ...]:
    """Return the cells of the small sweep."""
    return tiny_sweep(**changes).cells


def test_the_logistic_loss_of_targets_that_are_0_is_refused_when_both_meet() -> None:
    cell = cells(data=[{"name": "alignment_reversing"}], train={"steps": 10, "loss": "logistic"})[0]
    with pytest.raises(UserError, match=r"sign of a target, and \d+ of the 5,120 of alignment_reversing are 0"):
        load_data(cell, 0, CPU)
