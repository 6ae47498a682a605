"""Which settings vary among cells that one number is made of, in words.

A mean, a median or a rank correlation over several cells hides the settings in which they differ. Every sentence,
caption, legend and table that pools cells therefore names these settings, and all of them ask here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nfa.report.statistics.labels import name_list
from nfa.sweep.cells import AXES

VALUES_LISTED, LONGEST_VALUE = 6, 40


@dataclass(frozen=True)
class Pooling:
    """Says over which settings of a sweep a number is pooled.

    Attributes:
        parameters: One row per cell: ``cell`` and every parameter as ``axis.setting``.
    """

    parameters: pd.DataFrame
    _known: dict[frozenset[str], dict[str, list[str]]] = field(default_factory=dict, compare=False, repr=False)

    def settings(self, cells: Iterable[object]) -> dict[str, list[str]]:
        """Name the settings that vary among some cells.

        A setting whose value follows from the name of its entry (the learning rate of each of several optimizers) is
        not named beside ``optimizer.name``.

        Args:
            cells: Ids of the cells.

        Returns:
            ``axis.setting`` -> its values as text, in the order of the sweep.
        """
        chosen = frozenset(map(str, cells))
        if chosen not in self._known:
            self._known[chosen] = _varied(self.parameters[self.parameters["cell"].isin(chosen)])
        return self._known[chosen]

    def names(self, cells: Iterable[object]) -> str:
        """Name the settings without their values, for where there is little room; empty where none varies."""
        return ", ".join(self.settings(cells))

    def listed(self, cells: Iterable[object]) -> str:
        """Name the settings and their values: ``model.init_scale 0.1, 0.3; train.rule hebb, backpropagation``."""
        return "; ".join(f"{name} {_values(values)}" for name, values in self.settings(cells).items())

    def column(self, table: pd.DataFrame, points: pd.DataFrame, keys: list[str]) -> pd.Series:
        """Make the column ``pooled_over`` of a table whose rows pool cells.

        Args:
            table: The table, with the columns ``keys``.
            points: What its rows were made of, with the columns ``keys`` and ``cell``.
            keys: Columns that identify a row.
        """
        found: dict[Any, Any] = points.groupby(keys, sort=False, observed=True)["cell"].unique().to_dict()
        places = table[keys].itertuples(index=False, name=None)
        return pd.Series([self.listed(found.get(place, ())) for place in places], table.index, dtype="string")


def _varied(parameters: pd.DataFrame) -> dict[str, list[str]]:
    """Find what varies among the rows of a table of parameters."""
    varied: dict[str, list[str]] = {}
    for axis in AXES:
        name = f"{axis}.name"
        columns = [column for column in parameters.columns if column.partition(".")[0] == axis]
        columns.sort(key=lambda column: column != name)
        entries = [part for _, part in parameters.groupby(name, sort=False)] if name in columns else [parameters]
        for column in columns:
            among = [parameters] if column == name else [e for e in entries if e[column].notna().any()]  # that have it
            if any(entry[column].nunique(dropna=False) > 1 for entry in among):
                varied[column] = list(dict.fromkeys(map(_shown, pd.concat([entry[column] for entry in among]))))
    return varied


def _shown(value: object) -> str:
    """Show one value of a setting."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "none"
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(float(value))
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _values(values: list[str]) -> str:
    return name_list(values, VALUES_LISTED)
