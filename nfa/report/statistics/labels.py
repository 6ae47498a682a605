"""Short names of cells for people: the entry's name, and of its settings those that vary within the sweep."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import CELLS_SHOWN
from nfa.sweep.cells import Sweep
from nfa.sweep.points import AXES

FEEDBACK = "feedback_alignment"  # the rule that has a rho


def cell_labels(sweep: Sweep) -> pd.DataFrame:
    """Name every cell by axis.

    Returns:
        One row per cell in the sweep's order: ``cell``, ``data``, ``model``, ``optimizer``, ``train`` (empty where the
        sweep trains all cells alike), ``group`` (all but the optimizer) and ``label`` (all). No two labels are equal.
        In a sweep of one optimizer and several ways to train (learning rules, losses), these are what is compared:
        they are part of ``optimizer`` then, and not of ``group``.
    """
    parameters = [cell.parameters() for cell in sweep.cells]
    table: dict[str, Any] = {"cell": [cell.id for cell in sweep.cells]}
    for axis in AXES:
        table[axis] = axis_labels(axis, parameters)
    table["label"] = _join(table, ("data", "model", "optimizer", "train"))
    if len(set(table["optimizer"])) == 1 < len(set(table["train"])):
        table["optimizer"], table["train"] = _join(table, ("optimizer", "train")), [""] * len(parameters)
    table["group"] = _join(table, ("data", "model", "train"))
    return pd.DataFrame(table, dtype=object)


def _join(table: Mapping[str, list[str]], axes: tuple[str, ...]) -> list[str]:
    return [" · ".join(filter(None, parts)) for parts in zip(*(table[axis] for axis in axes), strict=True)]


def axis_labels(axis: str, parameters: list[dict[str, dict[str, Any]]]) -> list[str]:
    """Name each cell's entry of one axis by its name and the settings that vary among cells of the same four names.

    So an optimizer whose learning rate differs between models, but not within one, is one optimizer in the report.
    """
    values: dict[tuple[str, ...], set[str]] = {}
    for cell in parameters:
        names = tuple(cell[other].get("name", "") for other in AXES)
        for key, value in cell[axis].items():
            values.setdefault((*names, key), set()).add(json.dumps(value, sort_keys=True))
    place = AXES.index(axis)
    varying = {(names[place], key) for (*names, key), seen in values.items() if len(seen) > 1}
    labels = []
    for cell in parameters:
        name = cell[axis].get("name", "")
        varied = {key: value for key, value in cell[axis].items() if (name, key) in varying}
        shown = {key: value for key, value in varied.items() if value not in (None, {}, "")}
        if shown.get("rule", FEEDBACK) != FEEDBACK:
            shown.pop("rho", None)  # of no meaning there
        if cell[axis].get("adapt") is None:  # no rule: neither are its settings
            shown = {key: value for key, value in shown.items() if not key.startswith("adapt_")}
        if name == "file" and "path" not in shown:
            name = PurePath(cell[axis]["path"]).name  # "file" says nothing of what is in it
        settings = (f"{key} {show_setting(value)}" for key, value in shown.items())
        labels.append(" ".join(filter(None, [name, *settings])))
    return labels


def show_setting(value: Any) -> str:
    """Show one setting's value in a label."""
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key} {show_setting(item)}" for key, item in value.items()) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def name_list(names: Iterable[str], limit: int = 12, told: Callable[[str], str] = str) -> str:
    """Join names for a sentence, saying how many more there are; of those that stand in it, ``told`` says more."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(told, names[:limit])) + more


def quantity_labels(names: Iterable[str]) -> dict[str, str]:
    """Look up the labels of quantities in their registry: name -> label."""
    from nfa.alignment.quantities import QUANTITIES  # imports torch, which the rest of a report does without

    return {name: QUANTITIES[name].label for name in names}


def shown_of(cells: list[str]) -> list[str]:
    """Choose the cells that a page or a terminal shows: all, or some evenly spread."""
    if len(cells) <= CELLS_SHOWN:
        return cells
    return [cells[i] for i in np.linspace(0, len(cells) - 1, CELLS_SHOWN).round().astype(int)]
