"""The means and intervals of one chart of ``nfa figure``, which compares points by settings that the reader chooses.

The reader gives each of three roles (the panels, the colours, the x axis) something to compare by. Points that agree in
all roles and in the quantity are averaged: over layers within each run, then over seeds with a 95% interval. Where
steps have no role, only each run's last step counts. Points of different cells are never averaged: a chart that would
do so is refused with an error that names the settings without a role.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nfa.errors import UserError, nearest
from nfa.report.statistics.intervals import over_seeds

STEP, LAYER, DEPTH, QUANTITY, NOTHING = "step", "layer", "depth", "quantity", "none"
POINT_ROLES = (STEP, LAYER, DEPTH, QUANTITY, NOTHING)
NAME_ROLES = ("label", "data", "model", "optimizer", "train")  # names of cells by axis; ``label`` has all of them
_COLUMNS = {DEPTH: "depth_from_output"}


def column_of(role: str) -> str:
    """Return the column of the points that holds the values of a role."""
    return _COLUMNS.get(role, role)


@dataclass(frozen=True)
class Roles:
    """What a chart compares by.

    Each role is one of ``POINT_ROLES`` or ``NAME_ROLES``, a setting such as ``model.depth``, or several of these joined
    by ``+``.

    Attributes:
        x: Along each panel.
        colour: From line to line.
        panel: From panel to panel.
    """

    x: str
    colour: str
    panel: str

    def columns(self) -> list[str]:
        """Return the columns of the points that have a role."""
        return [column_of(role) for role in (self.panel, self.colour, self.x) if role != NOTHING]


@dataclass(frozen=True)
class Chart:
    """Means over seeds.

    Attributes:
        roles: What is compared.
        table: One row per panel, colour, x and quantity: those columns, ``n_seeds``, ``mean``, ``sd`` and the interval
            ``ci_low``, ``ci_high``.
    """

    roles: Roles
    table: pd.DataFrame

    def values(self, role: str) -> list[object]:
        """Return the values of a role in the order of the sweep; of ``none``, one empty value."""
        return [""] if role == NOTHING else list(dict.fromkeys(self.table[column_of(role)]))

    def rows(self, role: str, value: object) -> pd.DataFrame:
        """Return the rows in which a role has a value; of ``none``, all rows."""
        return self.table if role == NOTHING else self.table[self.table[column_of(role)] == value]


def make_chart(points: pd.DataFrame, roles: Roles) -> Chart:
    """Average the points of each panel, colour and place along x.

    Args:
        points: As ``nfa.report.statistics.chart_points.read_points`` gives them.
        roles: What is compared.

    Raises:
        UserError: A role that is no column, or cells that differ in what has no role.
    """
    columns = roles.columns()
    known = [*POINT_ROLES, *NAME_ROLES, *(name for name in points.columns if "." in name)]
    for role in (roles.panel, roles.colour, roles.x):
        parts = role.split("+")
        for part in parts:
            if part not in known:
                raise UserError(f"{part}: not something to compare by; {nearest(part, known)}")
        if len(parts) > 1:
            texts = points[[column_of(part) for part in parts]].map(show)
            points = points.assign(**{role: texts.agg(" ".join, axis=1)})
    if STEP not in columns:
        last = points.groupby(["cell", "seed"])["step"].transform("max")
        points = points[points["step"] == last]
    by = list(dict.fromkeys([*columns, QUANTITY]))
    cells_per_place = points.groupby(by, sort=False, dropna=False)["cell"].nunique()
    if (cells_per_place > 1).any():
        raise UserError(
            f"{int(cells_per_place.max())} cells would be averaged; compare by the settings in which they differ "
            f"({', '.join(_differing(points)) or 'label'}), with --x, --colour or --panel"
        )
    runs = points.groupby([*by, "cell", "seed"], sort=False, dropna=False)["value"].mean().reset_index()
    order = {tuple(place): number for number, place in enumerate(runs[by].drop_duplicates().itertuples(index=False))}
    table = over_seeds(runs, by)
    table["order"] = [order[tuple(place)] for place in table[by].itertuples(index=False)]
    return Chart(roles, table.sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True))


def _differing(points: pd.DataFrame) -> list[str]:
    """Name the settings in which the cells differ."""
    cells = points.drop_duplicates("cell")
    return [name for name in cells.columns if "." in name and cells[name].nunique(dropna=False) > 1]


def show(value: object) -> str:
    """Write a value of a role as text: numbers with at most six significant digits.

    >>> show(0.30000000000000004), show("sgd")
    ('0.3', 'sgd')
    """
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def named(role: str, value: object) -> str:
    """Write a value of a role for a legend or a title: a number with the name of its setting, a name alone.

    >>> named("optimizer.weight_decay", 0.003), named("optimizer.name", "sgd")
    ('weight decay 0.003', 'sgd')
    """
    name = role.rpartition(".")[2] if "+" not in role else ""
    number = isinstance(value, int | float | np.number)
    return f"{name.replace('_', ' ')} {show(value)}" if number and (role == DEPTH or "." in role) else show(value)
