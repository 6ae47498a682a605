"""Networks compared at one training loss: crossings, interpolation, levels; known answers."""

import math

import pandas as pd
import pytest

from nfa.report.statistics.matched_loss import at_loss, common_level, crossings

# Two runs that fall by factors of ten; the second rises again after its first crossing.
LOSSES = pd.DataFrame(
    [
        ("a", 0, 0, 1.0),
        ("a", 0, 10, 0.1),
        ("a", 0, 100, 0.01),
        ("b", 0, 0, 1.0),
        ("b", 0, 10, 0.05),
        ("b", 0, 100, 0.5),
        ("b", 0, 200, 0.02),
    ],
    columns=["cell", "seed", "step", "loss"],
)


def test_the_level_is_the_lowest_loss_that_all_reached() -> None:
    assert common_level(LOSSES) == 0.02
    assert common_level(LOSSES[LOSSES["cell"] == "a"]) == 0.01


def test_the_first_crossing_counts() -> None:
    found = crossings(LOSSES, 0.3).set_index("cell")
    assert [found["before"]["a"], found["after"]["a"]] == [0, 10]
    assert [found["before"]["b"], found["after"]["b"]] == [0, 10]
    assert found.loc["a", "share"] == pytest.approx(math.log10(1 / 0.3))
    assert found.loc["b", "share"] == pytest.approx(math.log(1 / 0.3) / math.log(20))


def test_a_run_that_did_not_reach_the_level_is_not_there_and_one_that_began_below_it_counts_from_its_start() -> None:
    assert crossings(LOSSES, 0.015)["cell"].tolist() == ["a"]
    whole = crossings(LOSSES, 2.0)
    assert whole["before"].tolist() == whole["after"].tolist() == [0, 0]
    assert whole["share"].tolist() == [1, 1]


def test_values_that_follow_the_loss_are_matched_exactly() -> None:
    values = LOSSES.assign(value=LOSSES["loss"].map(math.log), quantity="log loss").drop(columns="loss")
    for level in (0.9, 0.3, 0.05, 0.02):
        matched = at_loss(values, LOSSES, level)
        assert matched["value"].tolist() == pytest.approx([math.log(level)] * 2)


def test_order_of_rows_does_not_matter_and_a_checkpoint_at_the_level_is_taken_as_it_is() -> None:
    values = LOSSES.assign(value=LOSSES["step"] + 0.5).drop(columns="loss")
    shuffled = at_loss(values.sample(frac=1, random_state=0), LOSSES.sample(frac=1, random_state=1), 0.1)
    assert shuffled.set_index("cell")["value"].to_dict() == pytest.approx(
        {"a": 10.5, "b": 0.5 + 10 * math.log(10) / math.log(20)}
    )


def test_what_is_known_at_one_of_the_two_checkpoints_only_is_left_out() -> None:
    values = LOSSES[LOSSES["step"] != 10].assign(value=1.0).drop(columns="loss")
    assert at_loss(values, LOSSES, 0.3).empty
