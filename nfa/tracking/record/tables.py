"""All values of a run as tables: one row per step and layer, one column per quantity, correlation and power.

The tables are wide rather than long, because W&B plots columns and shows at most 10,000 rows of a table.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

LEADING = 64  # eigenvalues kept of each spectrum; matrices.npz has all of them
SPECTRA = ("nfm", "agop", "k")


@dataclass(frozen=True)
class RunTable:
    """A table of a run: columns with their Python types, and rows. Undefined values are None; ``notes`` says why."""

    columns: dict[str, type]
    rows: list[list[Any]]

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.columns)


def tables_of(
    alignment: pd.DataFrame, probes: pd.DataFrame, matrices: Mapping[str, np.ndarray], layers: Sequence[str]
) -> dict[str, RunTable]:
    """Lay out the tables of one run: alignment, probes, spectra."""
    return {
        "alignment": _alignment_table(alignment),
        "probes": _probes_table(probes, layers),
        "spectra": _spectra_table(matrices, layers),
    }


def column_name(quantity: str, correlation: str | None, power: str | None) -> str:
    """Name a column by quantity and convention; a quantity without correlation or power has only its own name.

    >>> column_name("uc_nfc", "cosine", "1/2")
    'uc_nfc cosine 1/2'
    """
    return " ".join(part for part in (quantity, correlation, power) if isinstance(part, str))


def _alignment_table(alignment: pd.DataFrame) -> RunTable:
    """Lay out all quantities; estimated quantities have a second column for their standard errors."""
    fixed: dict[str, type] = dict.fromkeys(("step", "layer_index", "depth_from_output", "n"), int)
    fixed |= {"layer": str, "estimator": str}
    convention = ["quantity", "correlation", "power"]
    row_of = alignment.groupby(["step", "layer_index"]).ngroup().to_numpy()
    column_of = alignment.groupby(convention, sort=False, dropna=False).ngroup().to_numpy()
    names = [column_name(*each) for each in alignment[convention].drop_duplicates().itertuples(index=False)]
    shape = (row_of.max(initial=-1) + 1, len(names))

    def spread(values: np.ndarray, chosen: np.ndarray) -> list[list[float | None]]:
        """Return the columns of the chosen values, with None in all other cells."""
        spread_out = np.full(shape, None, dtype=object)
        spread_out[row_of[chosen], column_of[chosen]] = values[chosen].astype(object)
        columns: list[list[float | None]] = spread_out.T.tolist()
        return columns

    value, stderr = alignment["value"].to_numpy(), alignment["stderr"].to_numpy()
    places = alignment.drop_duplicates(["step", "layer_index"]).sort_values(["step", "layer_index"])
    content: dict[str, list[Any]] = {name: places[name].tolist() for name in fixed}
    content |= dict(zip(names, spread(value, np.isfinite(value)), strict=True))
    estimated = zip(names, spread(stderr, stderr > 0), strict=True)
    content |= {f"{name} stderr": column for name, column in estimated if any(each is not None for each in column)}
    content["notes"] = _notes(alignment["note"].tolist(), value, [names[each] for each in column_of], row_of, shape[0])
    types = {name: fixed.get(name, str if name == "notes" else float) for name in content}
    return RunTable(types, [list(row) for row in zip(*content.values(), strict=True)])


def _notes(notes: list[str], value: np.ndarray, names: list[str], row_of: np.ndarray, rows: int) -> list[str]:
    """Write a note for each row: which of its values are undefined or limits, and why."""
    gathered: list[dict[str, list[str]]] = [{} for _ in range(rows)]
    for note, undefined, name, row in zip(notes, np.isnan(value), names, row_of, strict=True):
        if note or undefined:
            gathered[row].setdefault(note or "undefined", []).append(name)
    return ["; ".join(f"{', '.join(of)}: {note}" for note, of in each.items()) for each in gathered]


def _probes_table(probes: pd.DataFrame, layers: Sequence[str]) -> RunTable:
    """Lay out scores with one column per split and metric; the raw inputs have no layer index."""
    fixed: dict[str, type] = {"step": int, "layer": str, "probe": str, "features": str}
    index = {name: number for number, name in enumerate(layers)}
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    scores: dict[str, type] = {}
    columns = [*list(fixed), "split", "metric", "value"]
    for *place, split, metric, value in zip(*(probes[c].tolist() for c in columns), strict=True):
        row = rows.setdefault(
            tuple(place), {**dict(zip(fixed, place, strict=True)), "layer_index": index.get(place[1])}
        )
        row[f"{split} {metric}"] = _defined(value)
        scores[f"{split} {metric}"] = float
    types = {**fixed, "layer_index": int, **scores}
    return RunTable(types, [[row.get(name) for name in types] for row in rows.values()])


def _spectra_table(matrices: Mapping[str, np.ndarray], layers: Sequence[str]) -> RunTable:
    """Lay out the leading eigenvalues of NFM, AGOP and K in descending order, at the first and last checkpoint."""
    types: dict[str, type] = dict.fromkeys(("step", "layer", "layer_index", "index"), int)
    types |= {"layer": str} | dict.fromkeys(SPECTRA, float)
    rows: list[list[Any]] = []
    for step in steps_of(matrices):
        for number, layer in enumerate(layers):
            spectra = [
                matrices.get(f"{step}/{layer}/{name}_spectrum", np.empty(0))[:LEADING].tolist() for name in SPECTRA
            ]
            for index in range(max(len(spectrum) for spectrum in spectra)):
                values = [_defined(spectrum[index]) if index < len(spectrum) else None for spectrum in spectra]
                rows.append([step, layer, number, index, *values])
    return RunTable(types, rows)


def steps_of(matrices: Mapping[str, np.ndarray]) -> list[int]:
    """Return the steps at which a run's matrices were kept; keys are ``step/layer/name``."""
    return sorted({int(key.partition("/")[0]) for key in matrices})


def _defined(value: float) -> float | None:
    """Replace a value that is not finite by None, because tables become JSON, which has no NaN."""
    return value if math.isfinite(value) else None
