"""K in the left singular basis of a layer's weights, over training: the values of the pictures of one run.

With W = U S V^T, the pictures show |u_i^T K u_j| of the strongest directions, and kappa_i = u_i^T K u_i against
a_i = s_i^2. ``matrix_albums`` reads the arrays, and says which run of a cell is shown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nfa.report.statistics.speed_limited import raised_layer
from nfa.sweep.cells import Cell

ARRAYS = ("left_k", "strengths", "kappa")
NUMBERS = ("directional", "directional_haar", "spectrum_slope")
DEEP = 3  # so many hidden layers have one in the middle


@dataclass(frozen=True)
class BasisMoment:
    """One layer of a run at one checkpoint.

    Attributes:
        step: The checkpoint.
        left_k: (r, r) values of |u_i^T K u_j| over the largest of them, strongest direction first; NaN where K is not
            finite.
        strengths: (n,) values a_i, descending; 0 beyond the numerical rank of W.
        kappa: (n,) values kappa_i; 0 where they are rounding.
        numbers: Quantity of ``NUMBERS`` -> its value; NaN where it is undefined.
    """

    step: int
    left_k: np.ndarray
    strengths: np.ndarray
    kappa: np.ndarray
    numbers: dict[str, float]

    @property
    def used(self) -> np.ndarray:
        """(n,) marks of the directions that logarithmic axes can show: a and kappa are finite and not 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            shown: np.ndarray = np.isfinite(np.log(self.strengths) + np.log(self.kappa))
        return shown


@dataclass(frozen=True)
class LeftBasis:
    """One layer of a run.

    Attributes:
        layer: The layer's name.
        role: Why it is shown, e.g. ``raised layer``.
        moments: The first, the middle and the last checkpoint.
    """

    layer: str
    role: str
    moments: list[BasisMoment]


def layers_of_interest(cell: Cell, names: Sequence[str]) -> dict[str, str]:
    """Choose the layers of a cell that are shown: name -> why.

    They are the first layer, the hidden layer whose speed is raised above all others, and the middle one of at least
    three hidden layers. Of a raised layer that was measured head by head, the first head is shown.

    Args:
        cell: The cell.
        names: Its layers as they were measured, in forward order.
    """
    roles = {names[0]: ["first layer"]}
    raised = raised_layer(cell)
    for name in [name for name in names if name == raised or name.startswith(f"{raised}.")][:1]:
        roles.setdefault(name, []).append("raised layer")
    if len(names) > DEEP:
        roles.setdefault(names[(len(names) - 1) // 2], []).append("middle hidden layer")
    return {name: ", ".join(roles[name]) for name in names if name in roles}


def left_bases(
    roles: Mapping[str, str], arrays: Mapping[tuple[str, int, str], np.ndarray], values: pd.DataFrame
) -> list[LeftBasis]:
    """Gather the layers of interest of one run.

    Args:
        roles: The layers, from ``layers_of_interest``.
        arrays: (layer, step, name) -> array of ``nfa.alignment.left_pictures``; others are left alone.
        values: The run's rows of the alignment table with the quantities of ``NUMBERS``.

    Returns:
        A layer of interest each, in forward order; none of which no arrays were kept.
    """
    known = {
        (str(layer), int(step), str(quantity)): float(value)
        for layer, step, quantity, value in values[["layer", "step", "quantity", "value"]].itertuples(index=False)
    }
    found = []
    for layer, role in roles.items():
        steps = sorted(step for name, step, kind in arrays if (name, kind) == (layer, ARRAYS[0]))
        moments = []
        for step in steps:
            left_k, strengths, kappa = (arrays[layer, step, name].astype(np.float64) for name in ARRAYS)
            numbers = {number: known.get((layer, step, number), math.nan) for number in NUMBERS}
            moments.append(BasisMoment(step, left_k, strengths, kappa, numbers))
        if moments:
            found.append(LeftBasis(layer, role, moments))
    return found
