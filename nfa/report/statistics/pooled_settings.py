"""The settings that vary among the cells that one number is made of.

A mean, a median or a rank correlation over several cells hides the settings in which they differ. Every sentence,
caption, legend and table that pools cells therefore names these settings, and gets their names from here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nfa.report.statistics.labels import name_list
from nfa.sweep.axis_points import AXES

VALUES_LISTED, LONGEST_VALUE = 6, 40


@dataclass(frozen=True)
class Pooling:
    """Names the settings of a sweep that vary among some of its cells.

    Attributes:
        parameters: One row per cell: ``cell`` and every parameter as ``axis.setting``.
    """

    parameters: pd.DataFrame
    _known: dict[frozenset[str], dict[str, list[str]]] = field(default_factory=dict, compare=False, repr=False)

    def settings(self, cells: Iterable[object]) -> dict[str, list[str]]:
        """Name the settings that vary among some cells.

        A setting that varies only because the name of its entry does (the learning rate that each of several
        optimizers has) is not named beside ``optimizer.name``.

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
        """Name the settings without their values, where room is short; empty where none varies."""
        return ", ".join(self.settings(cells))

    def listed(self, cells: Iterable[object]) -> str:
        """Name the settings and their values: ``model.init_scale 0.1, 0.3; train.rule hebb, backpropagation``."""
        return "; ".join(f"{name} {name_list(values, VALUES_LISTED)}" for name, values in self.settings(cells).items())

    def column(self, table: pd.DataFrame, points: pd.DataFrame, keys: list[str]) -> pd.Series:
        """Make the column ``pooled_over`` of a table whose rows pool cells.

        Args:
            table: The table, with the columns ``keys``.
            points: The rows that were pooled, with the columns ``keys`` and ``cell``.
            keys: Columns that identify a row.
        """
        cells: dict[Any, Any] = points.groupby(keys, sort=False, observed=True)["cell"].unique().to_dict()
        places = table[keys].itertuples(index=False, name=None)
        return pd.Series([self.listed(cells.get(place, ())) for place in places], table.index, dtype="string")


def _varied(parameters: pd.DataFrame) -> dict[str, list[str]]:
    """Find the settings that vary among the rows of a table of parameters, and their values as text."""
    varied: dict[str, list[str]] = {}
    for axis in AXES:
        name = f"{axis}.name"
        columns = [column for column in parameters.columns if column.partition(".")[0] == axis]
        columns.sort(key=lambda column: column != name)
        entries = [part for _, part in parameters.groupby(name, sort=False)] if name in columns else [parameters]
        for column in columns:
            having = [parameters] if column == name else [part for part in entries if part[column].notna().any()]
            if any(part[column].nunique(dropna=False) > 1 for part in having):
                varied[column] = list(dict.fromkeys(map(_shown, pd.concat([part[column] for part in having]))))
    return varied


def _shown(value: object) -> str:
    """Write one value of a setting, cut to ``LONGEST_VALUE`` letters."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "none"
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(float(value))
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
