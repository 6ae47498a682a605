"""``Study`` of networks whose layers do not form a chain."""

from pathlib import Path

import pytest
import torch

from nfa.alignment import measure_covariances
from nfa.models import MODELS
from nfa.report.page.page import write_report
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from nfa.stages.aggregate import collect
from nfa.storage.columns import ALIGNMENT
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_stamp, read_table, write_table
from nfa.sweep.cells import Sweep
from tests.fake_results import write
from tests.helpers import tiny_sweep

STEPS = 6


def unroll(sweep: Sweep, paths: SweepPaths) -> dict[str, list[int]]:
    """Give every layer in the results the depth that it has in the network itself: cell -> depths in forward order."""
    found = {}
    for cell in sweep.cells:
        model = MODELS["recurrent"].build(cell.model, cell.shape, torch.Generator().manual_seed(0))
        layers = measure_covariances(model, torch.randn(4, *cell.shape.input_shape)).layers
        depths = {name: layer.depth_from_output for name, layer in layers.items()}
        path = paths.cell(cell.id).alignment
        table = read_table(path)
        table["depth_from_output"] = table["layer"].map(depths).astype(int)
        write_table(path, table, ALIGNMENT, read_stamp(path))
        found[cell.id] = list(depths.values())
    return found


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, list[int]]]:
    """Recurrent networks of one, two and three layers, each unrolled over six chunks of a vector."""
    sweep = tiny_sweep(
        seeds=1,
        data=[{"name": "chain_monomial", "dim": 4 * STEPS, "rank": 3, "n_train": 128, "n_test": 64}],
        model=[{"name": "recurrent", "depth": [1, 2, 3], "width": 6}],
        optimizer=[{"name": "sgd"}],
    )
    paths = write(sweep, tmp_path_factory.mktemp("results"))
    depths = unroll(sweep, paths)
    collected = collect(sweep, paths)
    return Study(collected, make_tables(collected), paths), depths


def test_a_recurrent_network_is_deeper_than_it_has_layers(recurrent: tuple[Study, dict[str, list[int]]]) -> None:
    study, depths = recurrent
    assert all(max(found) > len(found) - 1 for found in depths.values())
    assert study.deepest == max(map(max, depths.values()))
    assert {cell: [depth for *_, depth in study.layers(cell)] for cell in study.shown} == depths


def test_recurrent_networks_of_several_depths_have_a_report(
    recurrent: tuple[Study, dict[str, list[int]]], tmp_path: Path
) -> None:
    study, _ = recurrent
    paths = SweepPaths(tmp_path)
    paths.figures.mkdir(parents=True)
    write_report(study.collected, study.tables, paths)
    page = paths.report.read_text()
    assert all(study.row(cell)["label"] in page for cell in study.shown)
