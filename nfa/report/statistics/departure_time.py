"""The time at which a predicted curve of early training departs from the measured one."""

import math

import numpy as np
import pandas as pd

SHARE = 0.1  # relative difference from which on a predicted curve counts as departed
CURVE = ["layer", "layer_index", "depth_from_output", "quantity", "correlation", "power", "exponent"]


def departure_times(predicted: pd.DataFrame, measured: pd.DataFrame, share: float = SHARE) -> pd.DataFrame:
    """Find the first time at which each predicted curve is off by more than ``share`` of the measured value.

    Args:
        predicted: From ``nfa.theory.early_dynamics``.
        measured: From ``nfa.theory.measured_dynamics``, at the same times.
        share: Relative difference from which on a curve counts as departed.

    Returns:
        One row per curve and source, with columns source, layer, layer_index, depth_from_output, quantity, correlation,
        power, exponent, share, t, note. t is interpolated linearly between the times; it is NaN, with the reason in
        ``note``, where the curve does not depart within them or is undefined.
    """
    keys = [*CURVE, "t"]
    joined = predicted.merge(measured[[*keys, "value"]], on=keys, suffixes=("", "_measured"), how="inner")
    rows = []
    for curve, group in joined.groupby(["source", *CURVE], sort=False, dropna=False):
        ordered = group.sort_values("t")
        times, value, known = (ordered[column].to_numpy() for column in ("t", "value", "value_measured"))
        t, note = departure_time(times, value, known, share)
        rows.append({**dict(zip(("source", *CURVE), curve, strict=True)), "share": share, "t": t, "note": note})
    return pd.DataFrame(rows, columns=["source", *CURVE, "share", "t", "note"])


def departure_time(
    times: np.ndarray, predicted: np.ndarray, measured: np.ndarray, share: float = SHARE
) -> tuple[float, str]:
    """Find the first time at which one curve is off by more than ``share`` of the measured value.

    Args:
        times: (t,) increasing times.
        predicted: (t,) predicted values.
        measured: (t,) measured values.
        share: Relative difference from which on the curve counts as departed.

    Returns:
        The time, interpolated linearly, and a note: empty, or why the time is NaN or the first one.

    >>> times = np.array([1.0, 2.0, 3.0])
    >>> departure_time(times, predicted=np.array([1.0, 1.0, 1.2]), measured=np.ones(3))
    (2.5, '')
    """
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
