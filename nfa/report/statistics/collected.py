"""Everything that the cells of a sweep wrote, joined over cells: the input of all statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import pandas as pd

from nfa.conventions import LINEAR_PROBES
from nfa.report.statistics.labels import cell_labels
from nfa.report.statistics.pooled_settings import Pooling
from nfa.sweep.axis_points import AXES
from nfa.sweep.cells import Sweep

# Settings that the table `alignment` has in every sweep, beside those that vary; `runs` and `cells_summary` have all.
MAIN_PARAMETERS = (
    "data.name",
    "model.name",
    "model.depth",
    "model.width",
    "optimizer.name",
    "optimizer.lr",
    "train.loss",
    "train.batch_size",
)
_MAIN_DTYPES = {"model.depth": "Int64", "model.width": "Int64", "optimizer.lr": "float64"}


@dataclass(frozen=True)
class Collected:
    """Everything the cells of a sweep wrote, in the sweep's order of cells and seeds.

    Attributes:
        sweep: The sweep.
        documents: Cell id -> its cell.json.
        history: Every row of the train stage, with a first column ``cell``, a categorical in the sweep's order.
        alignment: Every row of the measure stage, with the same column.
        scores: Every row of the probe stage, with the same column, ``layer_index`` and ``depth_from_output`` (null for
            the raw input).
        early: Predicted and measured early dynamics, as ``nfa.report.statistics.early_dynamics.read_early`` gives them;
            empty where the sweep file does not ask for them.
        tuning: Values of the tuned settings, as ``nfa.report.statistics.tuning.read_tuning`` gives them.
        trials: All trials of the searches for them.
        unfinished: Number of the sweep's cells that are left out because they are not done.
    """

    sweep: Sweep
    documents: dict[str, dict[str, Any]]
    history: pd.DataFrame
    alignment: pd.DataFrame
    scores: pd.DataFrame
    early: pd.DataFrame
    tuning: pd.DataFrame
    trials: pd.DataFrame
    unfinished: int = 0

    @cached_property
    def probes(self) -> pd.DataFrame:
        """The linear probes among the scores."""
        return self.scores[self.scores["probe"].isin(LINEAR_PROBES)].reset_index(drop=True)

    @cached_property
    def features(self) -> pd.DataFrame:
        """All other scores: linearity, geometry, kernel machines, recovery."""
        return self.scores[~self.scores["probe"].isin(LINEAR_PROBES)].reset_index(drop=True)

    @cached_property
    def labels(self) -> pd.DataFrame:
        """Short names of the cells, see ``cell_labels``."""
        return cell_labels(self.sweep)

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """One row per cell: ``cell`` and every parameter as ``axis.setting``, with the dtypes of their declaration."""
        return parameter_table(self.sweep)

    @cached_property
    def pooling(self) -> Pooling:
        """Names the settings that vary among the cells that a number is made of."""
        return Pooling(self.parameters)

    @cached_property
    def swept(self) -> Sequence[str]:
        """The settings that take more than one value in the sweep, as ``axis.setting``."""
        return tuple(self.sweep.swept)

    @cached_property
    def settings(self) -> pd.DataFrame:
        """One row per cell: ``cell``, ``MAIN_PARAMETERS``, and all others of ``swept``; null where the cell lacks one.

        No two cells agree in all of these columns.
        """
        empty = {
            column: pd.Series([None] * len(self.parameters), dtype=_MAIN_DTYPES.get(column, "string"))
            for column in MAIN_PARAMETERS
            if column not in self.parameters
        }
        return self.parameters.assign(**empty)[["cell", *dict.fromkeys([*MAIN_PARAMETERS, *self.swept])]]


def parameter_table(sweep: Sweep) -> pd.DataFrame:
    """Tabulate the cells: ``cell`` and every parameter as ``axis.setting``, with the dtypes of their declaration."""
    rows = [{"cell": cell.id, **cell.flat_values()} for cell in sweep.cells]
    dtypes: dict[str, str] = {}
    for cell in sweep.cells:
        for axis in AXES:
            for key, field in type(getattr(cell, axis)).model_fields.items():
                column = f"{axis}.{key}"
                dtype = column_dtype(field.annotation)
                dtypes[column] = dtype if dtypes.get(column, dtype) == dtype else "string"
    ordered = {column: dtypes[column] for row in rows for column in row if column != "cell"}
    return pd.DataFrame(
        {"cell": pd.Series([row["cell"] for row in rows], dtype="string")}
        | {column: as_column([row.get(column) for row in rows], dtype) for column, dtype in ordered.items()}
    )


def column_dtype(annotation: Any) -> str:
    """Choose a column's dtype by a setting's declared type, so that it does not depend on the values of a sweep.

    >>> column_dtype(int | None), column_dtype(float), column_dtype(int | str)
    ('Int64', 'float64', 'string')
    """
    kinds = _kinds(annotation) - {NoneType}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return "Int64"
    return "float64" if kinds and kinds <= {int, float} else "string"


def _kinds(annotation: Any) -> set[type]:
    """Return the plain types that a declaration allows."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    if isinstance(annotation, type):
        return {annotation}
    return set().union(*(_kinds(part) for part in get_args(annotation))) if get_args(annotation) else {str}


def as_column(values: list[Any], dtype: str) -> pd.Series:
    """Make a column of one dtype, in which null stays null."""
    if dtype == "string":
        values = [None if value is None else str(value) for value in values]
    return pd.Series(values, dtype=dtype)
