"""A transformer goes through every stage: its layers have other names and places than their order says."""

from pathlib import Path

import torch

from nfa.report.figures import early
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from nfa.stages.aggregate import collect
from nfa.stages.measure import measure
from nfa.stages.options import StageOptions
from nfa.stages.probe import probe
from nfa.stages.train import train
from nfa.storage.paths import SweepPaths
from tests.helpers import tiny_sweep
from tests.report.studies import drawn

CPU = torch.device("cpu")


def test_early_dynamics_have_the_places_of_the_layers_that_are_measured(tmp_path: Path) -> None:
    """Query, key and value have one depth, and measured head by head they have other names than in training."""
    sweep = tiny_sweep(
        seeds=1,
        data=[{"name": "fashion_mini", "n_train": 100, "n_test": 50}],
        model=[{"name": "transformer", "depth": 1, "width": 8, "heads": 2, "patch": 14}],
        optimizer=[{"name": "sgd", "lr": 0.1}],
        train={"steps": 5, "batch_size": 32, "checkpoints": 1},
        measure={"samples": 40, "heads": True, "early": 10},
        probe={"kernel": "none", "rfm": 0},
    )
    for stage in (train, measure, probe):
        stage(sweep, sweep.cells[0], StageOptions(tmp_path, CPU))
    paths = SweepPaths(tmp_path / sweep.name)
    collected = collect(sweep, paths)
    curves = collected.early
    places = curves.drop_duplicates("layer").set_index("layer")[["layer_index", "depth_from_output"]]
    assert {name: tuple(row) for name, row in places.T.items()} == {
        "embed": (0, 5),
        **{f"blocks.0.{part}": (1 + 2 * number, 4) for number, part in enumerate(("query", "key", "value"))},
        "blocks.0.output": (7, 3),
        "blocks.0.up": (8, 2),
        "blocks.0.down": (9, 1),
        "readout": (10, 0),
    }
    (panels,) = early.panels(Study(collected, make_tables(collected), paths)).values()
    assert all(len(drawn(panel)[0].lines) > len(places) for panel in panels)  # a colour for each depth
