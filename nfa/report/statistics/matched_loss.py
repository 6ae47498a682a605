"""Values of networks at one training loss, so that networks that have learned equally much are compared.

A run's value at a training loss is interpolated between the two checkpoints (for test losses: the two recorded steps)
around the step at which the training loss first fell to it, linearly in the logarithm of the training loss. This rule
is derived here: the sources do not say how they match losses.
"""

import numpy as np
import pandas as pd

from nfa.report.statistics.runs import RUN

TINY = 1e-300  # stands for a loss of 0, which has no logarithm


def common_level(losses: pd.DataFrame) -> float:
    """Find the lowest training loss that all runs reached: the largest of their lowest losses.

    Args:
        losses: ``cell``, ``seed``, ``step``, ``loss`` at checkpoints.
    """
    return float(losses.groupby(RUN, observed=True)["loss"].min().max())


def crossings(losses: pd.DataFrame, level: float) -> pd.DataFrame:
    """Find the two checkpoints around each run's first crossing of a training loss.

    Args:
        losses: ``cell``, ``seed``, ``step``, ``loss`` at checkpoints.
        level: The training loss.

    Returns:
        One row per run that reached it: ``cell``, ``seed``, ``before`` and ``after`` (steps; equal where the loss is
        reached at the first checkpoint) and ``share``, the weight of ``after`` in an interpolated value.

    >>> losses = pd.DataFrame({"cell": "a", "seed": 0, "step": [0, 10], "loss": [1.0, 0.01]})
    >>> crossings(losses, 0.1).to_dict("records")
    [{'cell': 'a', 'seed': 0, 'before': 0, 'after': 10, 'share': 0.5}]
    """
    ordered = losses.sort_values([*RUN, "step"], kind="stable")
    runs = ordered.groupby(RUN, observed=True)
    ordered = ordered.assign(before=runs["step"].shift(), before_loss=runs["loss"].shift())
    found = ordered[ordered["loss"] <= level].drop_duplicates(RUN, keep="first")
    first = found["before"].isna()
    high, low = (np.log(found[column].clip(lower=TINY)) for column in ("before_loss", "loss"))
    share = ((high - np.log(max(level, TINY))) / (high - low)).mask(first, 1.0)
    before = found["before"].mask(first, found["step"]).astype("int64")
    return found[RUN].assign(before=before, after=found["step"], share=share).reset_index(drop=True)


def at_loss(values: pd.DataFrame, losses: pd.DataFrame, level: float) -> pd.DataFrame:
    """Interpolate values at the step at which each run's training loss first fell to a level.

    Args:
        values: ``cell``, ``seed``, ``step``, ``value`` and columns that identify the quantity.
        losses: ``cell``, ``seed``, ``step``, ``loss`` at checkpoints.
        level: The training loss.

    Returns:
        The columns of ``values`` without ``step``, for runs that reached the level; quantities that are missing at one
        of the two checkpoints are left out.
    """
    places = crossings(losses, level)
    keys = [column for column in values.columns if column not in ("step", "value")]
    low, high = (
        values.merge(places[[*RUN, end]].rename(columns={end: "step"}), on=[*RUN, "step"])
        .drop(columns="step")
        .rename(columns={"value": end})
        for end in ("before", "after")
    )
    both = low.merge(high, on=keys, validate="1:1").merge(places[[*RUN, "share"]], on=RUN, validate="m:1")
    mixed = (1 - both["share"]) * both["before"] + both["share"] * both["after"]
    return both[keys].assign(value=mixed.where(both["share"] < 1, both["after"]))
