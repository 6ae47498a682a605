"""The numbers of a chart of ``nfa figure``: means over layers and seeds, roles, and mistakes."""

from pathlib import Path

import pandas as pd
import pytest

from nfa.errors import UserError
from nfa.report.statistics.chart_data import Roles, make_chart
from nfa.report.statistics.chart_points import Wanted, read_points
from nfa.report.statistics.intervals import over_seeds
from nfa.storage.tables import read_table


def points_of(results: Path, name: str) -> pd.DataFrame:
    return read_points(results, [Wanted.parse(name)])


def test_a_chart_is_the_mean_of_layers_then_the_interval_over_seeds(results: Path) -> None:
    chart = make_chart(points_of(results, "uc_nfc"), Roles("model.width", "quantity", "optimizer"))
    assert len(chart.table) == 4
    table = read_table(results / "tables/alignment.parquet")
    rows = table["quantity"].eq("uc_nfc") & table["correlation"].eq("cosine") & table["power"].eq("1")
    rows &= table["depth_from_output"].gt(0) & table["step"].eq(table["step"].max())
    rows &= table["optimizer.name"].eq("adam") & table["model.width"].eq(16)
    by_seed = table[rows].groupby("seed")["value"].mean().rename("value").reset_index().assign(here=0)
    expected = over_seeds(by_seed, ["here"]).iloc[0]
    found = chart.table[chart.table["optimizer"].eq("adam") & chart.table["model.width"].eq(16)].iloc[0]
    assert found["mean"] == pytest.approx(expected["mean"])
    assert found["ci_high"] == pytest.approx(expected["ci_high"])
    assert found["n_seeds"] == 3


def test_joined_roles_and_scores(results: Path) -> None:
    chart = make_chart(points_of(results, "test_accuracy"), Roles("step", "optimizer.name+model.width", "none"))
    assert chart.values("optimizer.name+model.width") == ["sgd 12", "adam 12", "sgd 16", "adam 16"]
    assert chart.table["mean"].between(0, 1).all()


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (("layr", "quantity", "label"), "layr: not something to compare by; did you mean 'layer'"),
        (("layer", "quantity", "none"), "4 cells would be averaged"),
    ],
)
def test_mistakes_are_named(results: Path, roles: tuple[str, str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_chart(points_of(results, "uc_nfc"), Roles(*roles))
