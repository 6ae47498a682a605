"""One sweep with entries of every axis through the real Snakemake: it ends complete, with every layer measured."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nfa.optim import OPTIMIZERS
from nfa.rules import RULES
from nfa.storage.paths import SweepPaths
from nfa.sweep.grid import parse
from tests.helpers import tiny
from tests.workflow.snakemake import Workflow


@pytest.mark.slow
def test_something_of_every_axis_ends_complete_and_every_layer_is_measured(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    table = pd.DataFrame(draw.standard_normal((60, 6)), columns=list("abcdef"))
    table["yield"] = table["a"] * table["b"]
    table.to_csv(tmp_path / "measured.csv", index=False)
    images = {"data": "fashion_mini", "optimizer": "adam"}
    rules = [rule for rule in RULES if rule != "backpropagation"]
    document = tiny(
        sweep="axes",
        seeds=1,
        data=[
            {"name": "file", "path": str(tmp_path / "measured.csv"), "target": "yield"},
            {"name": "fashion_mini", "n_train": 40, "n_test": 20},
        ],
        model=[
            {"name": "mlp", "depth": 2, "width": 8, "for": {"data": "file"}},
            {"name": "transformer", "depth": 1, "width": 8, "heads": 2, "patch": 14, "for": images},
            {"name": "recurrent", "depth": 1, "width": 8, "for": images},
            {"name": "torchvision:resnet18", "for": images},
        ],
        optimizer=[{"name": name, "lr": 0.001} for name in OPTIMIZERS],
        train=[
            {"steps": 2, "batch_size": 16, "checkpoints": 1},
            {
                "steps": 2,
                "batch_size": 16,
                "checkpoints": 1,
                "rule": rules,
                "for": {"model": "mlp", "optimizer": "sgd"},
            },
        ],
        measure={"samples": 8, "estimator": "exact"},
    )
    sweep = parse(document, "x")
    assert len(sweep.cells) == len(OPTIMIZERS) + len(rules) + 3
    workflow = Workflow(tmp_path, document)
    workflow.finished()
    assert workflow.planned() == {}
    for cell in sweep.cells:
        paths = SweepPaths(workflow.results).cell(cell.id)
        alignment = pd.read_parquet(paths.alignment)
        measured = alignment.query("quantity == 'uc_nfc' and correlation == 'cosine' and power == '1'")
        for step in (0, 2):
            assert set(measured.loc[measured["step"] == step, "layer"]) == {layer.name for layer in cell.layers}, (
                cell.id
            )
        assert (alignment.loc[alignment["value"].isna(), "note"] != "").all(), cell.id
        assert set(pd.read_parquet(paths.probes)["step"]) == {0, 2}
        runs = json.loads(paths.cell.read_text())["runs"]
        assert {run["status"] for run in runs.values()} == {"finished"}, cell.id
    cells = pd.read_csv(SweepPaths(workflow.results).cells, sep="\t")["cell"]
    assert cells.tolist() == [cell.id for cell in sweep.cells]
    published = json.loads(SweepPaths(workflow.results).published.read_text())["runs"]
    assert sum("/seed-" in key for key in published) == len(sweep.cells) == len(published) - 1  # and the sweep's own
    assert SweepPaths(workflow.results).report.exists()
