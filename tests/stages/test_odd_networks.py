"""Unusual networks pass all stages: one that uses a weight twice, and one whose units die during training."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nfa.cli.main import run
from nfa.storage.checkpoints import load_tensors
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_table
from nfa.sweep.grid import load
from tests.helpers import tiny

TWICE = """
from torch import nn

def twice():
    shared = nn.Linear(16, 16)
    return nn.Sequential(nn.Linear(10, 16), nn.Tanh(), shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(16, 1))
"""


def through(folder: Path, **document: Any) -> SweepPaths:
    """Run every stage of one cell on a small regression."""
    config = folder / "sweep.yaml"
    config.write_text(yaml.safe_dump(tiny(data=[{"name": "diabetes"}], seeds=1, **document)))
    for stage in ("train", "measure", "probe", "aggregate"):
        assert run([stage, str(config), "--results", str(folder)]) == 0
    return SweepPaths(folder / load(config).name)


def test_a_weight_that_is_used_twice_is_saved_measured_and_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "used_twice.py").write_text(TWICE)
    monkeypatch.syspath_prepend(tmp_path)
    paths = through(
        tmp_path,
        model=[{"name": "used_twice:twice"}],
        optimizer=[{"name": "adam", "lr": 0.01}],
        train={"steps": 60, "checkpoints": 2},
    )
    (cell,) = (paths.cell(cell.id) for cell in load(tmp_path / "sweep.yaml").cells)
    tensors, _ = load_tensors(cell.checkpoint(0, 60), {})
    assert tensors["2.weight"].equal(tensors["4.weight"])
    table = read_table(cell.alignment)
    assert set(table.layer) == {"0", "2", "6"}
    assert table[(table.quantity == "uc_nfc") & (table.power == "1")].value.notna().all()


def test_a_network_that_died_costs_no_report(tmp_path: Path) -> None:
    """All rectifiers are off, so no alignment is defined, and the figure of the probes has no point."""
    paths = through(
        tmp_path,
        model=[{"name": "mlp", "depth": 2, "width": 8}],
        optimizer=[{"name": "signsgd", "lr": 5.0}],
        train={"steps": 100, "batch_size": 16, "checkpoints": 3},
    )
    (cell,) = (paths.cell(cell.id) for cell in load(tmp_path / "sweep.yaml").cells)
    table = read_table(cell.alignment)
    assert table[(table.quantity == "uc_nfc") & (table.step == 100) & (table.depth_from_output > 0)].value.isna().all()
    assert paths.report.exists()
