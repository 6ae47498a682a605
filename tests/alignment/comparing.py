"""Comparisons whose messages name the entry that differs most, and the difference."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tests.alignment.reference import Row

WITHOUT_K = ("relative_change", "localisation", "stable_rank_nfm")  # quantities of the weights alone


def assert_matrix_close(found: Tensor, expected: Tensor, tolerance: float = 1e-10, what: str = "") -> None:
    """Compare relative to the largest entry."""
    assert found.shape == expected.shape, f"{what}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
    difference = (found.double() - expected.double()).abs() / expected.abs().max().clamp(min=1e-300)
    worst = int(difference.argmax())
    place = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), found.shape))
    assert difference.max() <= tolerance, (
        f"{what} entry {place}: {found[place].item()}, expected {expected[place].item()}: "
        f"off by {difference.max().item():.2e} of the largest entry"
    )


def assert_values_close(found: Mapping[Any, float], expected: Mapping[Any, float], tolerance: float = 1e-8) -> None:
    """Compare values by name, absolutely and relatively; NaN equals NaN only."""
    assert found.keys() == expected.keys(), f"rows differ: {sorted(map(str, found.keys() ^ expected.keys()))}"
    wrong = []
    for name, value in expected.items():
        off = abs(found[name] - value) / max(1.0, abs(value))
        both_undefined = math.isnan(value) and math.isnan(found[name])
        if not both_undefined and not off <= tolerance:
            wrong.append(f"{name}: {found[name]}, expected {value}: off by {off:.2e}")
    assert not wrong, "\n".join(wrong)


def rows_of(table: pd.DataFrame, layer: str) -> dict[Row, float]:
    """Return (quantity, correlation, power) -> value of one layer."""
    part = table[table.layer == layer]
    names: list[Any] = [
        tuple(None if pd.isna(entry) else entry for entry in row)
        for row in part[["quantity", "correlation", "power"]].itertuples(index=False, name=None)
    ]
    assert len(set(names)) == len(names), "a row is there twice"
    return dict(zip(names, part.value, strict=True))


def value_of(table: pd.DataFrame, row: Row, layer: str) -> float:
    """Return one value of the table."""
    return rows_of(table, layer)[row]


def note_of(table: pd.DataFrame, quantity: str, layer: str) -> str:
    """Return the note that all rows of a quantity share."""
    notes = set(table[(table.layer == layer) & (table.quantity == quantity)].note)
    assert len(notes) == 1, f"{quantity}: {notes}"
    return str(notes.pop())
