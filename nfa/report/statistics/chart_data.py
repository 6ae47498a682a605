"""Points gathered by what a reader wants to compare: a panel, a colour, a place along x, a quantity.

Of steps that are none of these each run's last is taken, layers are averaged; then the mean and its 95% interval over
seeds. Cells that would fall together are refused.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nfa.errors import UserError, nearest
from nfa.report.numbers import plus_minus
from nfa.report.statistics.intervals import over_seeds

STEP, LAYER, DEPTH, QUANTITY, NOTHING = "step", "layer", "depth", "quantity", "none"
OWN = (STEP, LAYER, DEPTH, QUANTITY, NOTHING)
AXES = ("label", "data", "model", "optimizer", "train")  # names of cells by axis; ``label`` has all of them
_COLUMNS = {DEPTH: "depth_from_output"}


@dataclass(frozen=True)
class Roles:
    """What a chart compares: a name of ``OWN`` or ``AXES``, a setting as ``model.depth``, or several joined by +.

    Attributes:
        x: Along each panel.
        colour: Line by line.
        panel: Panel by panel.
    """

    x: str
    colour: str
    panel: str

    def columns(self) -> list[str]:
        """Columns of the points that have a role."""
        return [_COLUMNS.get(role, role) for role in (self.panel, self.colour, self.x) if role != NOTHING]


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
        """Values of a role in the order in which they came; of none, one empty value."""
        return [""] if role == NOTHING else list(dict.fromkeys(self.table[_COLUMNS.get(role, role)]))

    def rows(self, role: str, value: object) -> pd.DataFrame:
        """Rows of one value of a role."""
        return self.table if role == NOTHING else self.table[self.table[_COLUMNS.get(role, role)] == value]


def make_chart(points: pd.DataFrame, roles: Roles) -> Chart:
    """Gather points.

    Args:
        points: As ``nfa.report.statistics.points.read_points`` gives them.
        roles: What is compared.

    Raises:
        UserError: A role that is no column, or cells that differ in what has no role.
    """
    columns = roles.columns()
    known = [*OWN, *AXES, *(name for name in points.columns if "." in name)]
    for role in (roles.panel, roles.colour, roles.x):
        parts = role.split("+")
        for part in parts:
            if part not in known:
                raise UserError(f"{part}: nothing to compare by; {nearest(part, known)}")
        if len(parts) > 1:
            texts = points[[_COLUMNS.get(part, part) for part in parts]].map(show)
            points = points.assign(**{role: texts.agg(" ".join, axis=1)})
    if STEP not in columns:
        last = points.groupby(["cell", "seed"])["step"].transform("max")
        points = points[points["step"] == last]
    by = list(dict.fromkeys([*columns, QUANTITY]))
    together = points.groupby(by, sort=False, dropna=False)["cell"].nunique()
    if (together > 1).any():
        raise UserError(
            f"{int(together.max())} cells would be averaged; give --x, --colour or --panel what they differ in "
            f"({', '.join(_differing(points)) or 'label'})"
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


def markdown(chart: Chart, digits: int = 2) -> str:
    """Tabulate a chart: a row per panel, colour and x, a column per quantity; mean ± half of the 95% interval."""
    heads = [role for role in (chart.roles.panel, chart.roles.colour, chart.roles.x) if role not in (NOTHING, QUANTITY)]
    keys = [_COLUMNS.get(role, role) for role in heads]
    names = chart.values(QUANTITY)
    lines = [[*heads, *map(str, names)], ["---"] * (len(heads) + len(names))]
    for place, rows in chart.table.groupby(keys, sort=False, dropna=False):
        columns = (rows[column] for column in (QUANTITY, "mean", "ci_high"))
        found = {name: plus_minus(mean, high - mean, digits) for name, mean, high in zip(*columns, strict=True)}
        lines.append([*map(show, place), *(found.get(name, "") for name in names)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(value: object) -> str:
    """Show a value of a role."""
    if isinstance(value, float | np.floating):
        return f"{value:g}"
    return str(value)


def named(role: str, value: object) -> str:
    """Show a value of a role where nothing beside it says what it is: a setting's number with the setting's name."""
    name = role.rpartition(".")[2] if "+" not in role else ""
    number = isinstance(value, int | float | np.number)
    return f"{name.replace('_', ' ')} {show(value)}" if number and (role == DEPTH or "." in role) else show(value)
