"""Spearman's rank correlation of layers, per seed, then summarised over seeds: of predictions with measurements.

Within a seed the points are the layers of all cells of one data set. Pooled over layers, points of one network are not
independent, and depth may raise or lower both ranks. So the correlation is also computed at each depth from the output.
"""

import numpy as np
import pandas as pd

from nfa.conventions import READOUT
from nfa.report.statistics.intervals import SPREAD, over_seeds

FEWEST_POINTS = 3
POOLED = "hidden layers pooled"


def by_depth(depth_from_output: int) -> str:
    """Return the name of one depth in the column ``layers``."""
    return f"depth_from_output {depth_from_output}"


def pooled_and_by_depth(points: pd.DataFrame) -> pd.DataFrame:
    """Repeat points for the column ``layers``: hidden layers pooled, then each depth from the output by itself."""
    each = points.assign(layers=points["depth_from_output"].map(by_depth))
    pooled = points[points["depth_from_output"] != READOUT].assign(layers=POOLED)
    return pd.concat([pooled, each], ignore_index=True)


def summarised(per_seed: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Summarise statistics over seeds, and note why a rank correlation is undefined.

    Args:
        per_seed: One row per seed and statistic: ``keys``, ``value`` and the number of points ``n``; where ``keys``
            has a ``measure``, rows whose measure does not begin with ``rho`` are no rank correlations.
        keys: Columns that identify a statistic.

    Returns:
        ``keys``, ``n`` (the fewest points of any seed), mean and interval over seeds, ``note``.
    """
    table = over_seeds(per_seed, keys)
    count = per_seed.groupby(keys, sort=True)["n"].min().rename("n").reset_index()
    table = table.merge(count, on=keys, validate="1:1").astype({"n": "int64"})
    few = table["n"] < FEWEST_POINTS
    if "measure" in keys:
        few &= table["measure"].str.startswith("rho")
    reasons = [f"fewer than {FEWEST_POINTS} points", "all points are tied"]
    table["note"] = np.select([few, table["n_seeds"] == 0], reasons, default="")
    return table[[*keys, "n", *SPREAD, "note"]].astype(dict.fromkeys([*keys, "note"], "string"))


def spearman(frame: pd.DataFrame, by: list[str], a: str, b: str) -> pd.DataFrame:
    """Compute Spearman's correlation of two columns within groups, ties sharing their mean rank.

    Returns:
        The columns ``by``, ``rho`` (NaN where there are fewer than three points or one column is constant) and ``n``,
        the number of points.

    >>> frame = pd.DataFrame({"seed": 0, "a": [1, 2, 3, 4], "b": [10, 20, 40, 30]})
    >>> spearman(frame, ["seed"], "a", "b").to_dict("records")
    [{'seed': 0, 'rho': 0.8, 'n': 4}]
    """
    groups = frame.groupby(by, sort=True)
    ranks = groups[[a, b]].rank()
    keys = [frame[key] for key in by]
    centred = ranks - ranks.groupby(keys).transform("mean")
    products = pd.DataFrame(
        {"ab": centred[a] * centred[b], "aa": centred[a] ** 2, "bb": centred[b] ** 2, "n": 1}, index=frame.index
    )
    sums = products.groupby(keys, sort=True).sum()
    scale = (sums["aa"] * sums["bb"]) ** 0.5
    sums["rho"] = (sums["ab"] / scale.where(scale > 0)).where(sums["n"] >= FEWEST_POINTS)
    return sums[["rho", "n"]].reset_index()
