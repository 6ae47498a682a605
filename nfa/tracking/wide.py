"""Every number of a run as tables: a row per step and layer, a column per quantity, correlation and power.

Wide rather than long: W&B plots columns, and a run of many checkpoints stays below the 10,000 rows its tables show.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

LEADING = 64  # eigenvalues of each spectrum; the rest is in matrices.npz
SPECTRA = ("nfm", "agop", "k")


@dataclass(frozen=True)
class Table:
    """Columns with their Python types, and rows. Undefined values are None, with the reason in ``notes``."""

    columns: dict[str, type]
    rows: list[list[Any]]

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.columns)


def tables_of(
    alignment: pd.DataFrame, probes: pd.DataFrame, matrices: Mapping[str, np.ndarray], layers: Sequence[str]
) -> dict[str, Table]:
    """Lay out one run's tables: alignment, probes, spectra."""
    return {
        "alignment": _alignment_table(alignment),
        "probes": _probes_table(probes, layers),
        "spectra": _spectra_table(matrices, layers),
    }


def column_name(quantity: str, correlation: str | None, power: str | None) -> str:
    """Name a column by quantity and convention, e.g. ``uc_nfc cosine 1/2``."""
    return " ".join(part for part in (quantity, correlation, power) if isinstance(part, str))


def _alignment_table(alignment: pd.DataFrame) -> Table:
    """All quantities; standard errors in columns of their own where a value is an estimate."""
    fixed: dict[str, type] = {
        "step": int,
        "layer": str,
        "layer_index": int,
        "depth_from_output": int,
        "estimator": str,
        "n": int,
    }
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    values: dict[str, type] = {}
    columns = [*list(fixed), "quantity", "correlation", "power", "value", "stderr", "note"]
    for *place, quantity, correlation, power, value, stderr, note in zip(
        *(alignment[c].tolist() for c in columns), strict=True
    ):
        name = column_name(quantity, correlation, power)
        row = rows.setdefault((place[0], place[2]), {**dict(zip(fixed, place, strict=True)), "notes": {}})
        row[name] = _defined(value)
        values[name] = float
        if stderr > 0:
            row[f"{name} stderr"] = stderr
            values[f"{name} stderr"] = float
        if note or math.isnan(value):
            row["notes"].setdefault(note or "undefined", []).append(name)
    for row in rows.values():
        row["notes"] = "; ".join(f"{', '.join(names)}: {note}" for note, names in row["notes"].items())
    types = {**fixed, **values, "notes": str}
    return Table(types, [[row.get(name) for name in types] for _, row in sorted(rows.items())])


def _probes_table(probes: pd.DataFrame, layers: Sequence[str]) -> Table:
    """Scores by split; the raw input has no index."""
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
    return Table(types, [[row.get(name) for name in types] for row in rows.values()])


def _spectra_table(matrices: Mapping[str, np.ndarray], layers: Sequence[str]) -> Table:
    """Leading eigenvalues of NFM, AGOP and K, descending, at the first and last checkpoint."""
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
    return Table(types, rows)


def steps_of(matrices: Mapping[str, np.ndarray]) -> list[int]:
    """Steps that matrices of a run were kept at; keys are ``step/layer/name``."""
    return sorted({int(key.partition("/")[0]) for key in matrices})


def _defined(value: float) -> float | None:
    """None for what is not finite: a table is a JSON file, which has no NaN."""
    return value if math.isfinite(value) else None
