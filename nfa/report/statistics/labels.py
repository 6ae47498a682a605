"""Short names of cells for people: the name of each entry, with those of its settings that vary within the sweep."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import CELLS_SHOWN, READOUT
from nfa.sweep.axis_points import AXES
from nfa.sweep.cells import Sweep

FEEDBACK = "feedback_alignment"  # the only rule that uses the setting rho


def cell_labels(sweep: Sweep) -> pd.DataFrame:
    """Name every cell by axis.

    Returns:
        One row per cell in the sweep's order: ``cell``, ``data``, ``model``, ``optimizer``, ``train`` (empty where the
        sweep trains all cells alike), ``group`` (all but the optimizer) and ``label`` (all). No two labels are equal.
        A sweep of one optimizer and several ways to train (learning rules, losses) compares those: they are part of
        ``optimizer`` then, and not of ``group``.
    """
    parameters = [cell.parameters() for cell in sweep.cells]
    table: dict[str, Any] = {"cell": [cell.id for cell in sweep.cells]}
    for axis in AXES:
        table[axis] = axis_labels(axis, parameters)
    found = (" ".join(f"{name} {value:g}" for name, value in cell.found.items()) for cell in sweep.cells)
    named = [
        f"{optimizer} (tuned: {values})" if values else optimizer
        for optimizer, values in zip(table["optimizer"], found, strict=True)
    ]
    table["label"] = _join(table | {"optimizer": named}, ("data", "model", "optimizer", "train"))
    if len(set(table["optimizer"])) == 1 < len(set(table["train"])):
        table["optimizer"], table["train"] = _join(table, ("optimizer", "train")), [""] * len(parameters)
    table["group"] = _join(table, ("data", "model", "train"))
    return pd.DataFrame(table, dtype=object)


def _join(table: Mapping[str, list[str]], axes: tuple[str, ...]) -> list[str]:
    return [" · ".join(filter(None, parts)) for parts in zip(*(table[axis] for axis in axes), strict=True)]


def axis_labels(axis: str, parameters: list[dict[str, dict[str, Any]]]) -> list[str]:
    """Name each cell's entry of one axis by its name and the settings that vary among cells of the same four names.

    So an optimizer is one optimizer in the report although its learning rate differs between models, as long as it
    does not differ within a model.
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
            shown.pop("rho", None)  # no other rule uses it
        if cell[axis].get("adapt") is None:  # without the rule its settings mean nothing
            shown = {key: value for key, value in shown.items() if not key.startswith("adapt_")}
        if name == "file" and "path" not in shown:
            name = PurePath(cell[axis]["path"]).name  # tells more than the word "file"
        settings = (f"{key} {show_setting(value)}" for key, value in shown.items())
        labels.append(" ".join(filter(None, [name, *settings])))
    return labels


def show_setting(value: Any) -> str:
    """Write one setting's value for a label.

    >>> show_setting({"first": 1, "others": 0.1})
    '(first 1, others 0.1)'
    """
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key} {show_setting(item)}" for key, item in value.items()) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def name_list(names: Iterable[str], limit: int = 12, detail: Callable[[str], str] = str) -> str:
    """Join names for a sentence: the first ``limit``, each written by ``detail``, and how many more there are.

    >>> name_list(["sgd", "adam", "muon"], 2)
    'sgd, adam and 1 more'
    """
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(detail, names[:limit])) + more


def quantity_labels(names: Iterable[str]) -> dict[str, str]:
    """Look up the labels of quantities in their registry: name -> label."""
    from nfa.alignment.quantities import QUANTITIES  # imports torch, which the rest of a report does without

    return {name: QUANTITIES[name].label for name in names}


def layer_label(name: str, depth_from_output: int) -> str:
    """Mark the readout in the name of a layer, because its K is the identity and its values are 1 by definition.

    >>> layer_label("hidden0", 1), layer_label("4", 0), layer_label("readout", 0)
    ('hidden0', '4 (readout)', 'readout')
    """
    return name if depth_from_output != READOUT or name == "readout" else f"{name} (readout)"


def shown_of(cells: list[str]) -> list[str]:
    """Choose the cells that a page or a terminal shows: all, or ``CELLS_SHOWN`` evenly spread over the sweep."""
    if len(cells) <= CELLS_SHOWN:
        return cells
    return [cells[i] for i in np.linspace(0, len(cells) - 1, CELLS_SHOWN).round().astype(int)]
