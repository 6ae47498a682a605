"""Mean, standard deviation and 95% interval over seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from nfa.conventions import CONFIDENCE

SPREAD = ("n_seeds", "mean", "sd", "ci_low", "ci_high")


def half_interval(sd: pd.Series, n: pd.Series) -> pd.Series:
    """Return half the width of a mean's interval: Student t with n - 1 degrees of freedom; NaN with one seed."""
    half: pd.Series = (sd * _quantile(n.to_numpy(float)) / np.sqrt(n.where(n > 0))).where(n > 1)
    return half


def _quantile(n: Any) -> Any:
    """Return the quantile of Student's t for the mean of n seeds, a number or an array; that of two seeds for one."""
    return stdtrit(np.maximum(n - 1, 1), 0.5 + CONFIDENCE / 2)


def over_seeds(frame: pd.DataFrame, by: Sequence[str], value: str = "value") -> pd.DataFrame:
    """Summarise a long table over seeds.

    Args:
        frame: One row per seed and point; NaN values are left out of the mean, and of ``n_seeds``.
        by: Columns that identify a point; null is a value like any other.
        value: The column to summarise.

    Returns:
        One row per point, sorted by ``by``: those columns, ``n_seeds``, ``mean``, ``sd`` (n - 1), ``ci_low`` and
        ``ci_high``. With one seed there is a mean, and the rest is NaN.

    >>> runs = pd.DataFrame({"cell": ["a", "a", "b"], "seed": [0, 1, 0], "value": [1.0, 2.0, 5.0]})
    >>> over_seeds(runs, ["cell"]).round(2).values.tolist()
    [['a', 2, 1.5, 0.71, -4.85, 7.85], ['b', 1, 5.0, nan, nan, nan]]
    """
    groups = frame.groupby(list(by), observed=True, dropna=False, sort=True)[value]
    table = groups.agg(["count", "mean", "std"]).reset_index()
    table = table.rename(columns={"count": "n_seeds", "std": "sd"})
    half = half_interval(table["sd"], table["n_seeds"])
    return table.assign(ci_low=table["mean"] - half, ci_high=table["mean"] + half)


def mean_with_interval(values: "pd.Series[float]") -> tuple[float, float, float]:
    """Return mean, lower and upper end of the interval of one number per seed; NaN with one seed for the ends.

    >>> [round(number, 2) for number in mean_with_interval(pd.Series([1.0, 2.0]))]
    [1.5, -4.85, 7.85]
    """
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, float("nan"), float("nan")
    half = float(_quantile(count) * values.std() / np.sqrt(count))
    return mean, mean - half, mean + half
