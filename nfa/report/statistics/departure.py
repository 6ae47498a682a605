"""Until when a predicted curve of early training holds."""

import math

import numpy as np
import pandas as pd

SHARE = 0.1  # relative difference that counts as having left
CURVE = ["layer", "layer_index", "depth_from_output", "quantity", "correlation", "power", "exponent"]


def departure(predicted: pd.DataFrame, measured: pd.DataFrame, share: float = SHARE) -> pd.DataFrame:
    """Say until when each predicted curve holds: the first time it is off by more than ``share`` of the measured value.

    Args:
        predicted: From ``nfa.theory.early_dynamics``.
        measured: From ``nfa.theory.measured_dynamics``, at the same times.
        share: Relative difference that counts as having left.

    Returns:
        One row per curve and source, with columns source, layer, layer_index, depth_from_output, quantity, correlation,
        power, exponent, share, t, note. t is interpolated linearly between the times; NaN, with the reason in
        ``note``, where the curve does not leave within them or is undefined.
    """
    keys = [*CURVE, "t"]
    joined = predicted.merge(measured[[*keys, "value"]], on=keys, suffixes=("", "_measured"), how="inner")
    rows = []
    for curve, group in joined.groupby(["source", *CURVE], sort=False, dropna=False):
        ordered = group.sort_values("t")
        times, value, known = (ordered[column].to_numpy() for column in ("t", "value", "value_measured"))
        t, note = first_crossing(times, value, known, share)
        named = dict(zip(("source", *CURVE), curve, strict=True))
        rows.append({**named, "share": share, "t": t, "note": note})
    return pd.DataFrame(rows, columns=["source", *CURVE, "share", "t", "note"])


def first_crossing(
    times: np.ndarray, predicted: np.ndarray, measured: np.ndarray, share: float = SHARE
) -> tuple[float, str]:
    """Find where a curve is first off by more than ``share`` of the measured one: time, or NaN, and note."""
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs(predicted / measured - 1)
    if np.isnan(off).all():
        return math.nan, "undefined"
    beyond = np.flatnonzero(off > share)
    if not len(beyond):
        return math.nan, f"within {share:g} up to the last time, {times[-1]:.3g}"
    i = int(beyond[0])
    if i == 0:
        return float(times[0]), "beyond it at the first time already"
    if np.isnan(off[i - 1]):
        return float(times[i]), ""
    return float(np.interp(share, off[i - 1 : i + 1], times[i - 1 : i + 1])), ""
