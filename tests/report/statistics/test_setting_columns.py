"""Tables of alignment have a column for every setting that a sweep varies, so that nobody averages over it unseen."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfa.report.statistics.collected import MAIN_PARAMETERS, Collected
from nfa.report.statistics.summaries import make_alignment
from nfa.stages import aggregate as stage
from nfa.sweep.cells import Sweep
from tests.fake_results import write
from tests.helpers import tiny, tiny_sweep

TABLES = ("alignment", "features_alignment")
# One with a grid over null, one with a setting of its own, one with a mapping.
OPTIMIZERS = [
    {"name": "sgd", "lr": 0.1, "momentum": 0.9, "clip": [None, 2.0]},
    {"name": "adam", "lr": 0.01, "weight_decay": 0.1},
    {"name": "slo", "lr": 0.1, "speeds": [{"first": 1, "others": 0.1}, {"first": 1, "others": 0.5}]},
]
SCALES = {"name": "mlp", "depth": 1, "width": 12, "init_scale": [0.1, 1.0]}
RULES = {"steps": 30, "batch_size": 32, "checkpoints": 1, "rule": ["backpropagation", "hebb"]}


def swept(**changes: Any) -> Sweep:
    """A sweep over initial scales, learning rules and optimizers that differ in their settings."""
    data = tiny()["data"][1:]
    return tiny_sweep(
        **{"seeds": 1, "data": data, "model": [SCALES], "optimizer": OPTIMIZERS, "train": RULES, **changes}
    )


def bare(sweep: Sweep) -> Collected:
    """The part of ``Collected`` that depends on the sweep alone."""
    none = pd.DataFrame()
    return Collected(sweep, {}, none, none, none, none, none, none)


def unlike(value: Any) -> Any:
    """Put null in the place of every kind of missing value."""
    return None if pd.isna(value) else value


def test_each_row_has_the_settings_of_its_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "CELLS_AT_ONCE", 7)  # so that no part varies all that the sweep varies
    sweep = swept()
    paths = write(sweep, tmp_path)
    stage.collect_and_tabulate(sweep, paths)
    expected = {
        "model.init_scale": "double",
        "optimizer.clip": "double",
        "optimizer.weight_decay": "double",
        "optimizer.speeds": "string",
        "train.rule": "string",
    }
    for name in TABLES:
        table = pq.read_table(paths.tables / f"{name}.parquet")
        types = {field.name: str(field.type).removeprefix("large_") for field in table.schema}
        assert expected.items() <= types.items(), name
        frame = table.to_pandas()
        assert len(frame[["cell", *expected]].drop_duplicates()) == len(sweep.cells), "a setting that differs in a cell"
        for row in frame.drop_duplicates("cell").to_dict("records"):
            parameters = sweep.by_id[row["cell"]].flat_values()
            assert {key: unlike(row[key]) for key in expected} == {key: parameters.get(key) for key in expected}


def test_the_columns_are_in_the_order_of_the_sweep_and_none_is_doubled(tmp_path: Path) -> None:
    sweep = swept()
    alignment = make_alignment(stage.collect(sweep, write(sweep, tmp_path)))
    assert alignment.columns.is_unique
    others = [name for name in sweep.swept if name not in MAIN_PARAMETERS]
    assert list(alignment.columns)[: 10 + len(others)] == ["cell", *MAIN_PARAMETERS, *others, "seed"]
    assert others[0] == "model.init_scale"
    assert others[-1] == "train.rule"


def test_a_sweep_that_varies_nothing_else_gets_no_column(tmp_path: Path) -> None:
    model = {"name": "mlp", "depth": [1, 2], "width": [8, 12]}
    optimizer = [{"name": "sgd", "lr": [0.1, 0.2]}]
    train = {"steps": 30, "batch_size": [16, "full"], "checkpoints": 1, "loss": ["mse", "logistic"]}
    sweep = swept(model=[model], optimizer=optimizer, train=train)
    alignment = make_alignment(stage.collect(sweep, write(sweep, tmp_path)))
    assert [name for name in alignment.columns if "." in name] == list(MAIN_PARAMETERS)


def test_a_value_counts_where_the_entry_has_the_setting() -> None:
    sweep = swept(model=[{**SCALES, "init_scale": 1.0}], train={**RULES, "rule": "hebb"}, optimizer=OPTIMIZERS[:2])
    assert sweep.swept["optimizer.clip"] == [None, 2.0]
    assert sweep.swept["optimizer.weight_decay"] == [0.0, 0.1]
    assert "optimizer.momentum" not in sweep.swept, "adam does not have it, and sgd has one value of it"
    one = swept(model=[{**SCALES, "init_scale": 1.0}], train={**RULES, "rule": "hebb"}, optimizer=OPTIMIZERS[1:2])
    assert one.swept == {}


def some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    """A grid over some of the values, in any order."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique_by=repr)


RATES = some([0.1, 0.10000001, 0.2, 0.3])
ENTRIES = {
    "model": [
        st.fixed_dictionaries(
            {"name": st.just("mlp"), "depth": some([1, 2]), "width": some([4, 8])},
            optional={"init_scale": some([0.1, 0.123456789, 0.12345678, 1.0]), "activation": some(["relu", "tanh"])},
        ),
        st.fixed_dictionaries({"name": st.just("deep_linear"), "depth": some([2, 3])}),
    ],
    "optimizer": [
        st.fixed_dictionaries(
            {"name": st.just("sgd"), "lr": RATES},
            optional={"clip": some([None, 1.0, 2.0]), "momentum": some([0.0, 0.9])},
        ),
        st.fixed_dictionaries({"name": st.just("adam"), "lr": RATES}, optional={"weight_decay": some([0.0, 0.1])}),
        st.fixed_dictionaries(
            {"name": st.just("slo"), "lr": RATES},
            optional={"speeds": some([{"first": 1, "others": 0.1}, {"first": 1, "others": 0.2}, {"last": 2}])},
        ),
    ],
}
TRAINS = st.fixed_dictionaries(
    {"steps": some([10, 20])},
    optional={
        "batch_size": some([16, 32, "full"]),
        "loss": some(["mse", "logistic"]),
        "spacing": some(["log", "linear"]),
        "until": some([None, {"train_loss": 0.1}, {"train_loss": 0.2}]),
    },
)


@settings(max_examples=100, deadline=None)
@given(
    models=st.tuples(*(st.none() | entry for entry in ENTRIES["model"])).filter(any),
    optimizers=st.tuples(*(st.none() | entry for entry in ENTRIES["optimizer"])).filter(any),
    train=TRAINS,
)
def test_two_cells_always_differ_in_a_column(
    models: tuple[Any, ...], optimizers: tuple[Any, ...], train: dict[str, Any]
) -> None:
    sweep = swept(model=[*filter(None, models)], optimizer=[*filter(None, optimizers)], train=train)
    collected = bare(sweep)
    columns = collected.settings.drop(columns="cell")
    assert not columns.duplicated().any()
    for name in columns.columns.difference(list(MAIN_PARAMETERS)):
        assert len(columns[name].drop_duplicates()) > 1, f"{name} does not vary"
