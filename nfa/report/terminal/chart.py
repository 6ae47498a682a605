"""The table that ``nfa figure`` prints beside the figure that it draws."""

from nfa.report.numbers import plus_minus
from nfa.report.statistics.chart_data import NOTHING, QUANTITY, Chart, column_of, show


def chart_table(chart: Chart) -> str:
    """Lay out a chart as a Markdown table: a row per panel, colour and x, a column per quantity.

    Each number is a mean over seeds ± half of its 95% interval.
    """
    roles = chart.roles
    heads = [role for role in (roles.panel, roles.colour, roles.x) if role not in (NOTHING, QUANTITY)]
    names = chart.values(QUANTITY)
    lines = [[*heads, *map(str, names)], ["---"] * (len(heads) + len(names))]
    keys = [column_of(role) for role in heads]
    groups = chart.table.groupby(keys, sort=False, dropna=False) if keys else [((), chart.table)]
    for place, rows in groups:
        columns = (rows[column] for column in (QUANTITY, "mean", "ci_high"))
        found = {name: plus_minus(mean, high - mean) for name, mean, high in zip(*columns, strict=True)}
        lines.append([*map(show, place), *(found.get(name, "") for name in names)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
