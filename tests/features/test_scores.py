"""The registry of scores describes exactly the scores that are computed, and is read without torch."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from nfa.conventions import LINEAR_PROBES
from nfa.features import SamplesWithTargets, input_rows, linear_rows, metric_rows, recovery_rows
from nfa.features.quality import Row
from nfa.features.scores import BEYOND_PROBES, IN_SUMMARY, SCORES, definitions_text

ROOT = Path(__file__).parents[2]


def every_row() -> list[Row]:
    """Score a small network on data whose relevant directions are known, by every function that makes rows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2))
    x, directions = torch.randn(90, 5), torch.eye(5)[:, :2].double().numpy()
    labels = (x[:, 0] * x[:, 1] > 0).long()
    train, test = (
        SamplesWithTargets(x[s], nn.functional.one_hot(labels[s]) - 0.5, labels[s]) for s in (slice(60), slice(60, 90))
    )
    rows, machine = input_rows(train, test, kernel_samples=40, rfm=1)
    rows += linear_rows(model, train, test, ["0", "2"])
    rows += linear_rows(model, train, test, ["0", "2"], kind="logistic")
    rows += metric_rows(model, train, test, ["0"], machine=machine)
    return rows + recovery_rows(model, train.inputs, "0", directions, torch.eye(2).double().numpy())


def test_the_registry_has_every_score_in_its_column_and_range() -> None:
    found: set[str] = set()
    for row in every_row():
        (name,) = {row.probe, row.metric} & set(SCORES)
        score = SCORES[name]
        assert getattr(row, score.column) == name
        assert score.range[0] <= row.value <= score.range[1] + 1e-9
        found.add(name)
    assert found == set(SCORES)


def test_every_score_is_described() -> None:
    for name, score in SCORES.items():
        assert name == score.name
        assert score.control is None or score.control in SCORES
        module, _, function = score.computed_by.partition(":")
        assert callable(getattr(import_module(f"nfa.features.{module}"), function))
        assert score.label
        assert score.meaning
        assert f"`{name}`" in (ROOT / "docs" / "features.md").read_text()
        assert name in LINEAR_PROBES or f"({name}): {score.formula}" in definitions_text()
    assert set(IN_SUMMARY) <= set(BEYOND_PROBES)


@pytest.mark.parametrize(
    "module", ["nfa.features.scores", "nfa.report.page.sections.method", "nfa.tracking.record.summary"]
)
def test_the_registry_is_read_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
