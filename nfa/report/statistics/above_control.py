"""How far a quantity lies above its control: the number that tells a trained network from an untrained one.

A correlation, or a factor of it, is high by chance where K has few strong directions. Its control is the same number
with K turned at random, so the difference, in units of the control's standard deviation over rotations, is about
0 ± 1 in a layer whose weights and tangent features know nothing of each other.

Over several layers the unit is the root mean square of their standard deviations: mean difference / root mean square.
The mean of the layers' own ratios is not taken, because a control that hardly varies would decide it alone.

    points = above_control(table, "directional")                    one row per run, step and layer
    summarise(mean_over_layers(points), ["cell", "step"])           means and intervals over seeds
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import CONTROLS, READOUT
from nfa.report.statistics.intervals import over_seeds

LAYER = ["layer", "layer_index", "depth_from_output"]
PLACE = ["cell", "seed", "step", *LAYER, "correlation", "power"]
MEASURES = ["value", "control", "difference", "deviations"]
VARIANCE = "control_variance"


def above_control(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Compare a quantity with its control, layer by layer.

    Args:
        table: Rows of the alignment table, of one network or of many: ``Collected.alignment``, the table ``alignment``
            of a sweep, or what ``nfa.measure`` returns (without a column ``cell``).
        quantity: A name in ``nfa.conventions.CONTROLS``.

    Returns:
        One row per cell, seed, step, hidden layer, correlation and power in which the quantity has a row, in the order
        of the table: those columns as far as the table has them (correlation and power are null for the factors),
        ``value``, ``control``, ``control_sd`` (standard deviation over rotations), ``difference`` (value - control) and
        ``deviations`` (difference / control_sd). A number is NaN where it is undefined: powers other than 1 have no
        ``control_sd``, C-NFC at those powers has no control. The readout has no rows: there K = I, so that value and
        control are 1 by definition.

    Raises:
        KeyError: The quantity has no control whose spread is known.

    Example:
        >>> rows = [("uc_nfc", 0.75), ("haar_nfc", 0.5), ("haar_nfc_sd", 0.125)]
        >>> table = pd.DataFrame(rows, columns=["quantity", "value"]).assign(
        ...     seed=0, step=100, layer="0", layer_index=0, depth_from_output=1, correlation="cosine", power="1")
        >>> above_control(table, "uc_nfc")[["value", "control", "difference", "deviations"]].values.tolist()
        [[0.75, 0.5, 0.25, 2.0]]
    """
    place = [column for column in PLACE if column in table]
    hidden = table[table["depth_from_output"] != READOUT]
    columns = {quantity: "value", CONTROLS[quantity].mean: "control", CONTROLS[quantity].spread: "control_sd"}
    value, control, spread = (
        hidden.loc[hidden["quantity"] == name, [*place, "value"]].rename(columns={"value": column})
        for name, column in columns.items()
    )
    # Null matches null in these keys.
    points = value.merge(control, on=place, how="left", validate="1:1").merge(
        spread, on=place, how="left", validate="1:1"
    )
    points["difference"] = points["value"] - points["control"]
    points["deviations"] = points["difference"] / points["control_sd"].where(points["control_sd"] > 0)
    return points


def mean_over_layers(points: pd.DataFrame) -> pd.DataFrame:
    """Average the rows of ``above_control`` over the hidden layers in which value and control are both defined.

    Returns:
        One row per cell, seed, step, correlation and power: those columns, ``MEASURES`` and ``control_variance``, the
        mean of the squared standard deviations, over the layers in which they are known. ``deviations`` is the mean
        difference divided by its root.

    Example:
        >>> points = pd.DataFrame({"seed": 0, "value": [0.9, 0.7], "control": [0.5, 0.7001],
        ...     "difference": [0.4, -0.0001], "control_sd": [0.1, 1e-6], "deviations": [4.0, -100.0]})
        >>> mean_over_layers(points)["deviations"].round(2).tolist()
        [2.83]
    """
    by = [column for column in PLACE if column in points and column not in LAYER]
    defined = points[points["difference"].notna()].assign(**{VARIANCE: points["control_sd"] ** 2})
    means = defined.groupby(by, observed=True, dropna=False)[[*MEASURES, VARIANCE]].mean().reset_index()
    means["deviations"] = in_deviations(means["difference"], means[VARIANCE])
    return means


def in_deviations(difference: Any, variance: Any) -> Any:
    """Divide mean differences by the roots of mean variances, numbers or columns; NaN where a variance is 0 or NaN."""
    return difference / np.sqrt(np.where(variance > 0, variance, np.nan))


def summarise(points: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Summarise rows of ``above_control`` or ``mean_over_layers`` over seeds.

    Args:
        points: Those rows, one per seed and place.
        by: Columns that identify a place, such as ``["cell", "step", "layer"]``.

    Returns:
        One row per place and ``measure`` (one of ``MEASURES``): mean, standard deviation and 95% interval over seeds,
        as ``nfa.report.statistics.intervals.over_seeds`` gives them.
    """
    long = points.melt(list(by), MEASURES, var_name="measure", value_name="number")
    return over_seeds(long, [*by, "measure"], "number")
