"""Early dynamics of a sweep: what ``nfa.theory.early`` predicted of gradient flow, and what was measured along it.

The stage ``measure`` follows the flow where the sweep file says so (``measure: {early: N}``), for cells of plain SGD,
and leaves the curves beside the arrays for the pictures.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from nfa.conventions import CORRELATIONS, HEADLINE
from nfa.report.statistics.departure import SHARE, first_crossing
from nfa.storage.arrays import read_arrays
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Cell, Sweep

SOURCES = ("measured", "leading", "next")
ORDERS = SOURCES[1:]
NORMS = {"centred_nfm_norm": "|W̄ᵀW̄|", "centred_agop_norm": "|W̄ᵀKW̄|"}
QUANTITIES = (*NORMS, "c_nfc")
PLACE = ["cell", "seed", "layer", "layer_index", "depth_from_output", "quantity", "correlation"]
COLUMNS = [*PLACE, "t", "steps", *SOURCES]
LEFT = [*PLACE, "order", "share", "t", "steps", "note"]


def read_early(sweep: Sweep, paths: SweepPaths) -> pd.DataFrame:
    """Read the curves of every cell and seed that has them.

    Returns:
        One row per cell, seed, layer, quantity (``centred_nfm_norm``, ``centred_agop_norm``, ``c_nfc`` at power 1),
        correlation (null for norms) and time: ``t``, ``steps`` = t / lr, ``measured``, ``leading``, ``next``.
    """
    cells = [cell for cell in sweep.cells if sweep.measure.early and cell.follows_gradient_flow]
    parts = [part for cell in cells for part in _curves(cell, sweep.seeds, paths)]
    integers = dict.fromkeys(("seed", "layer_index", "depth_from_output"), "int64")
    texts = dict.fromkeys(("cell", "layer", "quantity", "correlation"), "string")
    numbers = dict.fromkeys(("t", "steps", *SOURCES), "float64")
    joined = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
    return joined[COLUMNS].astype({**integers, **texts, **numbers})


def _curves(cell: Cell, seeds: Sequence[int], paths: SweepPaths) -> Iterator[pd.DataFrame]:
    """Turn one cell's arrays into rows."""
    columns = [*((quantity, None) for quantity in NORMS), *(("c_nfc", correlation) for correlation in CORRELATIONS)]
    archive = read_arrays(paths.cell(cell.id).matrices, lambda name: "/early_" in name)
    for seed in seeds:
        for index, layer in enumerate(cell.layers):
            key = f"{seed}/0/{layer.name}/early"
            if f"{key}_times" not in archive:
                continue
            times = archive[f"{key}_times"]
            arrays = {source: archive[f"{key}_{source}"] for source in SOURCES}
            place: dict[str, Any] = {
                "cell": cell.id,
                "seed": seed,
                "layer": layer.name,
                "layer_index": index,
                "depth_from_output": len(cell.layers) - 1 - index,
                "t": times,
                "steps": times / cell.optimizer.lr,
            }
            for column, (quantity, correlation) in enumerate(columns):
                values = {source: array[:, column] for source, array in arrays.items()}
                yield pd.DataFrame({**place, "quantity": quantity, "correlation": correlation, **values})


def make_departure(curves: pd.DataFrame) -> pd.DataFrame:
    """Say when each prediction leaves the measurement.

    Returns:
        One row per curve and ``order`` (``leading`` or ``next``): ``share``, the relative difference that counts;
        ``t`` and ``steps`` = t / lr, where it is first exceeded, NaN where it is not or the curve is undefined;
        ``note``, which of them.
    """
    rows = []
    for place, curve in curves.groupby(PLACE, sort=False, dropna=False):
        times, measured = curve["t"].to_numpy(), curve["measured"].to_numpy()
        per_time = float(curve["steps"].iloc[0] / curve["t"].iloc[0])
        for order in ORDERS:
            t, note = first_crossing(times, curve[order].to_numpy(), measured)
            named = dict(zip(PLACE, place, strict=True))
            rows.append({**named, "order": order, "share": SHARE, "t": t, "steps": t * per_time, "note": note})
    integers = dict.fromkeys(("seed", "layer_index", "depth_from_output"), "int64")
    texts = dict.fromkeys(("cell", "layer", "quantity", "correlation", "order", "note"), "string")
    numbers = dict.fromkeys(("share", "t", "steps"), "float64")
    return pd.DataFrame(rows, columns=LEFT).astype({**integers, **texts, **numbers})


def in_headline(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep norms, and C-NFC in the headline's correlation."""
    return frame[frame["correlation"].isna() | (frame["correlation"] == HEADLINE.correlation)]
