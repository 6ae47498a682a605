"""The stage that probes: baselines, and finished work of earlier settings."""

from pathlib import Path

import pandas as pd
import torch

from nfa.stages.options import StageOptions
from nfa.stages.probe import probe
from nfa.storage.paths import CellPaths
from nfa.sweep.cells import Sweep
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")


def test_probes_have_their_baselines_and_beat_chance(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = trained
    probe(sweep, sweep.cells[0], StageOptions(results, CPU))
    frame = pd.read_parquet(paths.probes)
    assert set(frame.query("layer == 'input'")["step"]) == {0}
    assert set(frame.query("layer != 'input'")["step"]) == set(sweep.cells[0].train.checkpoint_steps(200))
    linear = frame.query("probe == 'ridge'")
    assert set(linear["metric"]) == {"accuracy"}
    assert linear.query("layer == 'input' and split == 'test'")["value"].min() > 0.4
    assert (frame["features"] != "").all()


def test_another_probe_setting_and_back_finds_its_work(trained: tuple[Sweep, CellPaths, Path]) -> None:
    sweep, paths, results = trained
    probe(sweep, sweep.cells[0], StageOptions(results, CPU))
    first = paths.probes.read_bytes()
    other = tiny_sweep(probe={"kind": "logistic"}, data=sweep.document["data"][:1])
    probe(other, other.cells[0], StageOptions(results, CPU))
    assert set(pd.read_parquet(paths.probes)["probe"]) & {"ridge", "logistic"} == {"logistic"}
    paths.probes.unlink()
    probe(sweep, sweep.cells[0], StageOptions(results, CPU))
    assert paths.probes.read_bytes() == first
