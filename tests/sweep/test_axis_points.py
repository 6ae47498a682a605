"""Cells share the points of their axes: whatever depends on a point alone is computed once, however many cells."""

from collections import Counter
from typing import Any

import pytest

from nfa.data import DATA
from nfa.entries import non_default
from nfa.models import MODELS
from nfa.optim import OPTIMIZERS
from nfa.sweep.grid import parse
from tests.helpers import tiny

DOCUMENT = tiny(
    model=[{"name": "mlp", "width": list(range(8, 28))}],
    optimizer=[{"name": "sgd", "lr": [0.1, 0.2, 0.3]}, {"name": "slo", "speeds": {"first": [1, 2], "others": 0.1}}],
    train=[{"steps": [10, 20], "checkpoints": 2}],
)


def test_settings_are_compared_with_their_defaults_once_for_each_point(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[int] = Counter()

    def counted(settings: Any) -> dict[str, Any]:
        asked[id(settings)] += 1
        return non_default(settings)

    monkeypatch.setattr("nfa.sweep.axis_points.non_default", counted)
    sweep = parse(DOCUMENT, "x.yaml")
    assert len(sweep.cells) == 2 * 20 * (3 + 2) * 2
    assert len({cell.id for cell in sweep.cells}) == len(sweep.cells)
    assert len(asked) <= 2 + 20 + 5 + 2
    assert set(asked.values()) == {1}
    assert len({cell.network for cell in sweep.cells}) == 2 * 20


def test_a_cell_has_the_entries_of_its_settings() -> None:
    for cell in parse(DOCUMENT, "x.yaml").cells:
        assert cell.data_entry is DATA[cell.content["data"]["name"]]
        assert cell.model_entry is MODELS[cell.content["model"]["name"]]
        assert cell.optimizer_entry is OPTIMIZERS[cell.content["optimizer"]["name"]]
        assert cell.layers == cell.model_entry.layers(cell.model, cell.shape)


def test_a_point_of_the_axis_data_is_looked_at_once_for_many_models(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Counter[str]()
    for name in ("fashion_mini", "chain_monomial"):
        entry = DATA[name]

        def shape(settings: Any, entry: Any = entry, name: str = name) -> Any:
            asked[name] += 1
            return entry.shape(settings)

        monkeypatch.setitem(DATA, name, type(entry)(**{**vars(entry), "shape": shape}))
    parse(DOCUMENT, "x.yaml")
    assert asked == {"fashion_mini": 1, "chain_monomial": 1}
