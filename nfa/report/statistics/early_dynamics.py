"""Tables of a sweep's early dynamics: gradient flow as ``nfa.theory.early`` predicts it, and as it was measured.

The stage ``measure`` follows the flow of cells of plain SGD where the sweep file asks for it (``measure: {early: N}``).
It keeps the curves in the cell's matrices.npz, from which ``read_early`` makes a table.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from nfa.conventions import CORRELATIONS, HEADLINE
from nfa.report.statistics.departure_time import SHARE, departure_time
from nfa.report.statistics.layer_places import layer_places
from nfa.storage.arrays import read_arrays
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Cell, Sweep

SOURCES = ("measured", "leading", "next")
ORDERS = SOURCES[1:]
NORMS = {"centred_nfm_norm": "|W̄ᵀW̄|", "centred_agop_norm": "|W̄ᵀKW̄|"}
QUANTITIES = (*NORMS, "c_nfc")
PLACE = ["cell", "seed", "layer", "layer_index", "depth_from_output", "quantity", "correlation"]
DYNAMICS_COLUMNS = [*PLACE, "t", "steps", *SOURCES]
DEPARTURE_COLUMNS = [*PLACE, "order", "share", "t", "steps", "note"]
_INTEGERS = ("seed", "layer_index", "depth_from_output")
Places = dict[tuple[str, str], dict[str, int]]  # (cell, layer) -> its columns of PLACE
_TEXTS = ("cell", "layer", "quantity", "correlation", "order", "note")


def read_early(sweep: Sweep, paths: SweepPaths, alignment: pd.DataFrame) -> pd.DataFrame:
    """Read the curves of every cell and seed that has them.

    Args:
        sweep: The sweep.
        paths: Its folders and files.
        alignment: The alignment rows of its cells, which have the places of the layers.

    Returns:
        One row per cell, seed, layer, quantity (``centred_nfm_norm``, ``centred_agop_norm``, ``c_nfc`` at power 1),
        correlation (null for norms) and time: ``t``, ``steps`` = t / lr, ``measured``, ``leading``, ``next``.
    """
    cells = [cell for cell in sweep.cells if sweep.measure.early and cell.follows_gradient_flow]
    places: Places = {}
    if cells:
        for cell, layer, index, depth in layer_places(alignment).itertuples(index=False, name=None):
            places[cell, layer] = {"layer_index": index, "depth_from_output": depth}
    parts = [part for cell in cells for part in _curves(cell, sweep.seeds, paths, places)]
    return _typed(pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(), DYNAMICS_COLUMNS)


def _typed(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Select columns and give each its dtype, so that an empty table has the types of a full one."""
    dtypes = {name: "int64" if name in _INTEGERS else "string" if name in _TEXTS else "float64" for name in columns}
    return frame.reindex(columns=columns).astype(dtypes)


def _curves(cell: Cell, seeds: Sequence[int], paths: SweepPaths, places: Places) -> Iterator[pd.DataFrame]:
    """Turn one cell's arrays into rows, with the places of its layers in the network."""
    columns = [*((quantity, None) for quantity in NORMS), *(("c_nfc", correlation) for correlation in CORRELATIONS)]
    archive = read_arrays(paths.cell(cell.id).matrices, lambda name: "/early_" in name)
    for seed in seeds:
        layers = [key.split("/")[2] for key in archive if key.startswith(f"{seed}/0/") and key.endswith("early_times")]
        for layer in layers:
            key = f"{seed}/0/{layer}/early"
            times = archive[f"{key}_times"]
            arrays = {source: archive[f"{key}_{source}"] for source in SOURCES}
            place: dict[str, Any] = {
                "cell": cell.id,
                "seed": seed,
                "layer": layer,
                **places[cell.id, layer],
                "t": times,
                "steps": times / cell.optimizer.lr,
            }
            for column, (quantity, correlation) in enumerate(columns):
                values = {source: array[:, column] for source, array in arrays.items()}
                yield pd.DataFrame({**place, "quantity": quantity, "correlation": correlation, **values})


def make_departure(curves: pd.DataFrame) -> pd.DataFrame:
    """Tabulate when each prediction departs from the measurement.

    Returns:
        One row per curve and ``order`` (``leading`` or ``next``): ``share``, the relative difference that counts;
        ``t`` and ``steps`` = t / lr, where the difference first exceeds it (NaN where it does not, or where the curve
        is undefined); ``note``, the reason for NaN.
    """
    rows = []
    for place, curve in curves.groupby(PLACE, sort=False, dropna=False):
        times, measured = curve["t"].to_numpy(), curve["measured"].to_numpy()
        steps_per_time = float(curve["steps"].iloc[0] / curve["t"].iloc[0])
        for order in ORDERS:
            t, note = departure_time(times, curve[order].to_numpy(), measured)
            found = {"order": order, "share": SHARE, "t": t, "steps": t * steps_per_time, "note": note}
            rows.append({**dict(zip(PLACE, place, strict=True)), **found})
    return _typed(pd.DataFrame(rows), DEPARTURE_COLUMNS)


def in_headline(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the norms, and C-NFC in the headline's correlation."""
    return frame[frame["correlation"].isna() | (frame["correlation"] == HEADLINE.correlation)]
