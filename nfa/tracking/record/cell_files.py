"""Read the result files of one cell, from which its runs are published."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import LINEAR_PROBES
from nfa.digests import read_sealed
from nfa.errors import UserError
from nfa.storage.arrays import read_arrays
from nfa.storage.columns import TIMINGS
from nfa.storage.paths import CellPaths
from nfa.storage.tables import read_written


@dataclass(frozen=True)
class CellResults:
    """The content of one cell's files, for all seeds. Tables are in long format: one value per row.

    Attributes:
        document: Content of ``cell.json``.
        history: Training curves.
        alignment: Every quantity of every layer and checkpoint.
        probes: Scores of linear probes.
        features: All other feature scores.
        timings: Seconds per stage and seed; empty if no timings were kept.
        matrices: ``seed/step/layer/name`` -> NFM or AGOP, its diagonal, or a spectrum.
    """

    document: dict[str, Any]
    history: pd.DataFrame
    alignment: pd.DataFrame
    probes: pd.DataFrame
    features: pd.DataFrame
    timings: pd.DataFrame
    matrices: dict[str, np.ndarray]


def read_results(paths: CellPaths) -> CellResults:
    """Read all files of a cell.

    Raises:
        UserError: A file is damaged.
    """
    scores = read_written(paths.probes, by="probe")
    linear = scores["probe"].isin(LINEAR_PROBES)
    return CellResults(
        document=_document(paths),
        history=read_written(paths.history, by="train"),
        alignment=read_written(paths.alignment, by="measure"),
        probes=scores[linear],
        features=scores[~linear],
        timings=read_written(paths.timings, by="train")
        if paths.timings.exists()
        else pd.DataFrame(columns=TIMINGS.names),
        matrices=read_arrays(paths.matrices),
    )


def _document(paths: CellPaths) -> dict[str, Any]:
    """Read ``cell.json``.

    Raises:
        UserError: The file is damaged.
    """
    try:
        return read_sealed(paths.cell)
    except ValueError:
        raise UserError(f"{paths.cell}: damaged; run `nfa train` for this cell again") from None


def files_digest(paths: CellPaths) -> str:
    """Hash the bytes of a cell's files except its timings, which alone may differ between equal runs."""
    total = hashlib.sha256()
    for file in (paths.cell, paths.history, paths.alignment, paths.matrices, paths.probes):
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()
