"""The registry of quantities: what reads it is up to date, values stay in their range, and a new quantity appears."""

import copy
import re
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

import nfa
from nfa.alignment import measure_covariances
from nfa.alignment.network import reasons
from nfa.alignment.quantities import QUANTITIES
from nfa.alignment.quantities.catalogue import markdown_table
from nfa.alignment.quantities.layer import LayerContext, Reference
from nfa.alignment.quantities.quantity import Quantity
from nfa.conventions import CORRELATIONS, LOGGED, POWERS
from nfa.report.figures import curves
from nfa.report.page.sections import cells
from nfa.report.page.sections.method import definitions
from nfa.report.statistics import study
from tests.alignment.networks import CASES, Case, squared_error, targets_for, trained
from tests.helpers import ROOT

DOCS = ROOT / "docs"
SLACK = 1e-9  # rounding past the end of a range


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, 3, bias=False)).double()


def inputs() -> torch.Tensor:
    return torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_table_of_the_page_is_that_of_the_registry() -> None:
    page = (DOCS / "quantities.md").read_text(encoding="utf-8")
    generated = runpy.run_path(str(DOCS / "generate.py"))["generated"]
    assert markdown_table() in page, "out of date: run make docs"
    assert generated(page) == page


def test_names_and_controls_are_registered() -> None:
    for name, quantity in QUANTITIES.items():
        assert quantity.name == name
        assert quantity.control is None or quantity.control in QUANTITIES
        assert quantity.label
        assert quantity.meaning
        assert quantity.formula
        assert quantity.source
        assert quantity.range[0] < quantity.range[1]
        assert set(quantity.correlations) <= set(CORRELATIONS)
        assert set(quantity.powers) <= set(POWERS)


@pytest.mark.parametrize(
    "chosen",
    [LOGGED, curves.QUANTITIES, cells.ORDER, study.CURVES],
    ids=["trackers", "figures", "cells", "curves"],
)
def test_quantities_that_others_choose_are_registered(chosen: tuple[str, ...]) -> None:
    assert set(chosen) <= QUANTITIES.keys()


def test_the_frame_for_people_lists_every_quantity() -> None:
    frame = nfa.quantities()
    assert list(frame.name) == list(QUANTITIES)
    assert list(frame.columns) == [
        *("name", "label", "meaning", "formula", "source", "correlations", "powers", "control", "range")
    ]
    row = frame.set_index("name").loc["c_haar_nfc"]
    assert (row.correlations, row.powers) == ("cosine, pearson, offdiagonal", "1")


def test_the_report_defines_every_quantity() -> None:
    page = definitions()
    for name in QUANTITIES:
        assert f"<code>{name}</code>" in page


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_table_has_the_registrys_rows_in_its_order_and_range(case: Case) -> None:
    start, samples = case.network(), case.inputs()
    model = trained(start, samples)
    targets = targets_for(model, samples)
    table = nfa.measure(model, samples, targets=targets, loss=squared_error, initial=start, weight_decay=0.1)
    expected = [(q.name, *row) for q in QUANTITIES.values() if not q.optional for row in q.rows]
    for _, rows in table.groupby("layer_index"):
        found = zip(rows.quantity, rows.correlation, rows.power, strict=True)
        assert [tuple(None if part != part else part for part in row) for row in found] == expected
    for row in table[table.value.notna()].itertuples():
        low, high = QUANTITIES[row.quantity].range
        assert low - SLACK <= row.value <= high + SLACK, row


def test_a_quantity_computes_only_what_it_asks_for() -> None:
    found = measure_covariances(network(), inputs()).layers["0"]
    layer = LayerContext(found, Reference(initial_weight=found.weight + 1), seed=0)
    for name in ("relative_change", "localisation"):
        QUANTITIES[name].measure(layer)
    assert "change" in vars(layer.weights)
    assert not {"features", "change_features"} & vars(layer.weights).keys()
    assert not {"middle", "agop"} & vars(layer).keys()
    QUANTITIES["depth_law_fit"].measure(layer)
    assert "agop" in vars(layer)
    assert "change_features" not in vars(layer.weights)


@pytest.fixture
def leading_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Quantity:
    """The quantity of the page, made by the code that the page shows."""
    monkeypatch.setattr(reasons, "REASONS", copy.copy(reasons.REASONS))
    page = (DOCS / "extend.md").read_text(encoding="utf-8")
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "= Quantity(" in code)
    (tmp_path / "leading.py").write_text(code, encoding="utf-8")
    quantity = runpy.run_path(str(tmp_path / "leading.py"))["LEADING_SHARE"]
    assert isinstance(quantity, Quantity)
    monkeypatch.setitem(QUANTITIES, quantity.name, quantity)
    return quantity


def test_the_quantity_that_the_page_adds_is_measured_and_documented(leading_share: Quantity) -> None:
    model = network()
    rows = nfa.measure(model, inputs()).query("quantity == 'leading_share'").set_index("layer")
    assert list(rows.index) == ["0", "2"]
    for name in rows.index:
        _, agop = nfa.matrices(model, inputs(), name)
        eigenvalues = torch.linalg.eigvalsh(agop)
        assert rows.value[name] == pytest.approx((eigenvalues.max() / eigenvalues.sum()).item(), rel=1e-9)
    assert (rows.stderr == 0).all()
    assert f"| `leading_share` | {leading_share.formula} | {leading_share.meaning} |" in markdown_table()
    assert "leading_share" in set(nfa.quantities().name)
    assert "<code>leading_share</code>" in definitions()
    sketched = nfa.measure(model, inputs(), estimator="sketched").query("quantity == 'leading_share' and layer == '0'")
    assert sketched.stderr.gt(0).all()
