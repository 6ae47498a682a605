"""A trained cell that the tests of several stages use."""

from pathlib import Path

import pytest
import torch

from nfa.stages.options import StageOptions
from nfa.stages.train import train
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.sweep.cells import Sweep
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Sweep, CellPaths, Path]:
    """Train the first cell of the small sweep."""
    sweep = tiny_sweep()
    train(sweep, sweep.cells[0], StageOptions(tmp_path, CPU))
    return sweep, SweepPaths(tmp_path / sweep.name).cell(sweep.cells[0].id), tmp_path
