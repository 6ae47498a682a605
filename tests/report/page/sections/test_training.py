"""The table of losses, where the best constant prediction makes no error."""

import json
from pathlib import Path

import pytest

from nfa.report.numbers import UNDEFINED
from nfa.report.page.sections.training import training_table
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from nfa.stages.aggregate import aggregate, collect
from nfa.storage.paths import SweepPaths
from tests.fake_results import rewrite_cell, write
from tests.helpers import tiny_sweep


def hold_still(paths: SweepPaths, cell: str) -> None:
    """Let the best constant make no error: the targets of the cell do not vary."""
    path = paths.cell(cell).cell
    document = json.loads(path.read_text())
    for run in document["runs"].values():
        run["constant_predictor"] = {"train_loss": 0.0, "test_loss": 0.0, "test_accuracy": None}
    rewrite_cell(paths.cell(cell), document)


@pytest.mark.filterwarnings("error")
def test_the_ratio_to_a_constant_without_error_is_undefined(tmp_path: Path) -> None:
    sweep = tiny_sweep(seeds=1, data=[{"name": "chain_monomial"}])
    paths = write(sweep, tmp_path)
    still = sweep.cells[0].id
    hold_still(paths, still)
    found = aggregate(sweep, tmp_path)  # the whole report is made
    assert found.not_learned == (still,)
    collected = collect(sweep, paths)
    table = training_table(Study(collected, make_tables(collected), paths))
    ratios = [row.split('<td class="with-bar">')[1].split("</td>")[0] for row in table.split("<tr>")[2:]]
    assert ratios[0] == f"<span>{UNDEFINED}</span>"
    assert "bar" in ratios[1]
