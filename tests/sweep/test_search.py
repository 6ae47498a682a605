"""Searches in the place of a setting's value: what they mean, how they are written, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfa.errors import SweepError
from nfa.sweep.grid import parse
from nfa.sweep.search import Search, Tune
from tests.helpers import tiny

RANGE = {"tune": [0.001, 10]}


def sweep_of(*optimizers: dict[str, Any], **changes: Any) -> Any:
    return parse(tiny(optimizer=list(optimizers), data=[tiny()["data"][0]], **changes), "my.yaml")


def test_a_search_is_one_cell_whatever_the_way_it_is_written() -> None:
    ways = ([0.001, 10], ["1e-3", 10.0], [0.001, "1e1"])
    cells = [sweep_of({"name": "sgd", "lr": {"tune": way}}).cells for way in ways]
    cells.append(sweep_of({"name": "sgd", "lr": {"scale": "log", "tune": [0.001, 10]}}).cells)
    assert len({cell.id for (cell,) in cells}) == 1
    (cell,) = cells[0]
    assert "sgd-lrtuned" in cell.id
    assert cell.searches == {"lr": Search(0.001, 10.0)}
    assert cell.parameters()["optimizer"]["lr"] == {"tune": [0.001, 10.0], "scale": "log"}
    assert cell.values()["optimizer"]["lr"] is None


def test_another_range_is_another_cell_and_a_found_value_is_not() -> None:
    one, other = sweep_of({"name": "sgd", "lr": RANGE}, {"name": "sgd", "lr": {"tune": [0.001, 20]}}).cells
    assert one.id != other.id
    found = one.with_found({"lr": 0.316})
    assert found.id == one.id
    assert found.content == one.content
    assert found.optimizer.lr == 0.316
    assert found.values()["optimizer"]["lr"] == found.flat_values()["optimizer.lr"] == 0.316
    assert found.parameters() == one.parameters()


def test_a_search_can_stand_in_a_grid() -> None:
    sweep = sweep_of({"name": "sgd", "lr": [RANGE, 0.1], "momentum": [0.0, {"values": [0.5, 0.9]}]})
    assert [sorted(cell.searches) for cell in sweep.cells] == [["lr"], ["lr", "momentum"], [], ["momentum"]]
    # A tuned setting has one value for what is compared: the search itself.
    assert set(sweep.swept) == {"optimizer.lr", "optimizer.momentum"}
    assert "optimizer.lr" not in sweep_of({"name": "sgd", "lr": RANGE}, {"name": "adam", "lr": RANGE}).swept


def test_only_what_changes_the_training_changes_the_search() -> None:
    def key(**changes: Any) -> str:
        sweep = sweep_of({"name": "sgd", "lr": RANGE}, **changes)
        return str(sweep.tune_hash(sweep.cells[0]))

    plain = key()
    assert key(train=tiny()["train"] | {"checkpoints": 2, "spacing": "linear"}) == plain
    assert key(measure={"samples": 20}, seeds=5, sweep="other") == plain
    assert key(train=tiny()["train"] | {"steps": 31}) != plain
    assert key(tune={"points": 5}) != plain
    assert key(model=[{"name": "mlp", "depth": 2, "width": 13}]) != plain


def test_the_settings_of_the_search_are_part_of_the_training() -> None:
    cells = [sweep_of({"name": "sgd", "lr": RANGE}, {"name": "sgd", "lr": 0.1}, tune={"seeds": n}) for n in (1, 2)]
    tuned, plain = ([sweep.hashes(sweep.cells[i])["train"] for sweep in cells] for i in (0, 1))
    assert tuned[0] != tuned[1]
    assert plain[0] == plain[1]


@pytest.mark.parametrize(
    ("search", "points", "expected"),
    [
        (Search(0.001, 10.0), 5, (0.001, 0.01, 0.1, 1.0, 10.0)),
        (Search(0.001, 1.0), 7, (0.001, 0.00316, 0.01, 0.0316, 0.1, 0.316, 1.0)),
        (Search(0.0, 0.8, "linear"), 5, (0.0, 0.2, 0.4, 0.6, 0.8)),
        (Search(0.1, 3.0, values=(0.1, 0.5, 3.0)), 9, (0.1, 0.5, 3.0)),
    ],
)
def test_the_first_values(search: Search, points: int, expected: tuple[float, ...]) -> None:
    assert search.grid(points) == pytest.approx(expected, rel=1e-12)


def test_halfway() -> None:
    assert Search(0.001, 1.0).between(0.01, 0.1) == 0.0316
    assert Search(0.0, 1.0, "linear").between(0.2, 0.4) == 0.3


def test_shares_and_cost() -> None:
    assert Tune().shares == [0.25, 0.5, 1.0]
    assert Tune(start=0.3).shares == [0.3, 0.6, 1.0]
    assert Tune(start=1).shares == [1]
    # 9 trials for a quarter, 5 for another quarter, 3 for the other half, 2 whole ones between
    assert Tune().trainings(9, 1) == 9 / 4 + 5 / 4 + 3 / 2 + 2


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        ({"tune": [1, 0.1]}, "my.yaml: optimizer[0].lr.tune: [1, 0.1] must be two numbers, as [0.001, 1]"),
        ({"tune": [0.1]}, "optimizer[0].lr.tune: [0.1] must be two numbers"),
        ({"tune": [0, 1]}, "optimizer[0].lr.tune: 0 has no logarithm; begin above 0, or use scale: linear"),
        ({"tune": [0.1, 0.101]}, "is too narrow to search"),
        ({"tune": [-1, 1], "scale": "linear"}, "optimizer[0].lr: -1"),
        ({"tune": [0.1, 1e9]}, "optimizer[0].lr: 1000000000"),
        ({"tune": [0.1, 1], "scale": "lin"}, "optimizer[0].lr.scale: 'lin': "),
        ({"tune": [0.1, 1], "values": [1, 2]}, "optimizer[0].lr: values are listed, so tune and scale have no meaning"),
        ({"values": [0.1]}, "optimizer[0].lr.values: [0.1] must be a list of 2 to 100 different numbers"),
        ({"values": [0.1, 0.1]}, "in ascending order"),
        ({"tune": [0.1, 1], "steps": 3}, "optimizer[0].lr: 'steps': no such key of a search"),
        ({"tune": [0.1, float("inf")]}, "must be two numbers"),
    ],
)
def test_refused(lr: Any, message: str) -> None:
    with pytest.raises(SweepError) as refused:
        sweep_of({"name": "sgd", "lr": lr})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_factor_on_a_tuned_rate_is_refused() -> None:
    with pytest.raises(SweepError, match=r"optimizer\[0\].lr_times: lr is tuned, so a factor on it has no meaning"):
        sweep_of({"name": "sgd", "lr": RANGE, "lr_times": "classes/10"})


def test_only_numbers_of_optimizers_are_tuned() -> None:
    with pytest.raises(SweepError, match=r"optimizer\[0\].schedule: only a setting that is a number can be tuned"):
        sweep_of({"name": "sgd", "schedule": {"values": ["linear", "cosine"]}})
    with pytest.raises(SweepError, match=r"model\[0\].width: only settings of an optimizer can be tuned"):
        sweep_of({"name": "sgd"}, model=[{"name": "mlp", "width": {"tune": [8, 64]}}])
    # The speeds of SLO are a mapping whose keys are layers, which may have such a name.
    with pytest.raises(SweepError, match="speeds"):
        sweep_of({"name": "slo", "speeds": {"values": 1.0}})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["tune", "scale", "values", "x"]), inner)
    ),
    max_leaves=8,
)


@given(anything)
def test_whatever_stands_there_is_a_setting_or_one_line(lr: Any) -> None:
    try:
        sweep = sweep_of({"name": "sgd", "lr": lr})
    except SweepError as refused:
        assert "\n" not in str(refused)
    else:
        for cell in sweep.cells:
            for search in cell.searches.values():
                grid = search.grid(5)
                assert list(grid) == sorted(set(grid))
                assert (grid[0], grid[-1]) == (search.low, search.high)
