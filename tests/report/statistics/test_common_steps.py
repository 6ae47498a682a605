"""Checkpoints at steps of each seed's own are one point of a mean over seeds, and are named in a table."""

import pandas as pd
import pytest

from nfa.report.statistics.collected import Collected
from nfa.report.statistics.common_steps import at_common_steps, make_loss_checkpoints
from tests.helpers import tiny_sweep

RUNS = {
    0: {"status": "finished", "reached": True, "last_step": 20, "at_loss": [[0.5, 5], [0.1, 20]]},
    1: {"status": "finished", "reached": True, "last_step": 40, "at_loss": [[0.5, 10], [0.1, 35]]},
    2: {"status": "diverged", "reached": False, "last_step": 7, "at_loss": [[0.5, 5]]},
}
KEPT = {0: [0, 5, 10, 20], 1: [0, 1, 10, 35, 40], 2: [0, 1, 5]}


def collected(**train: object) -> Collected:
    sweep = tiny_sweep(
        seeds=3, data=[{"name": "fashion_mini", "n_train": 200}], optimizer=[{"name": "sgd"}], train={**train}
    )
    empty = pd.DataFrame()
    runs = {"runs": {str(seed): run for seed, run in RUNS.items()}}
    return Collected(sweep, {cell.id: runs for cell in sweep.cells}, empty, empty, empty, empty, empty, empty)


@pytest.fixture
def events() -> Collected:
    return collected(steps=1000, batch_size=40, until={"train_loss": 0.1}, checkpoints_at_loss=[0.1, 0.5])


def rows(found: Collected) -> pd.DataFrame:
    cell = found.sweep.cells[0].id
    steps = [(cell, seed, step, step / 5, f"{seed} at {step}") for seed, kept in KEPT.items() for step in kept]
    frame = pd.DataFrame(steps, columns=["cell", "seed", "step", "epoch", "value"])
    return frame.assign(cell=pd.Categorical(frame["cell"]))


def test_checkpoints_of_one_event_are_at_the_step_of_the_seed_that_needed_longest(events: Collected) -> None:
    found = at_common_steps(events, rows(events))
    assert found["epoch"].tolist() == (found["step"] / 5).tolist()
    assert not found.duplicated(["cell", "seed", "step"]).any()
    placed = {seed: dict(zip(part["step"], part["value"], strict=True)) for seed, part in found.groupby("seed")}
    assert placed == {
        0: {0: "0 at 0", 10: "0 at 5", 35: "0 at 20", 40: "0 at 20"},  # loss .5, loss .1, the end
        1: {0: "1 at 0", 1: "1 at 1", 10: "1 at 10", 35: "1 at 35", 40: "1 at 40"},
        2: {0: "2 at 0", 1: "2 at 1", 10: "2 at 5"},
    }


def test_without_events_nothing_is_moved() -> None:
    found = collected(steps=1000, batch_size=40)
    frame = rows(found)
    assert at_common_steps(found, frame) is frame
    assert make_loss_checkpoints(found).empty


def test_a_table_says_which_checkpoint_belongs_to_which_loss(events: Collected) -> None:
    table = make_loss_checkpoints(events)
    table["step"] = table["step"].fillna(-1)
    assert table[["seed", "train_loss", "step"]].to_numpy().tolist() == [
        [0, 0.5, 5],
        [0, 0.1, 20],
        [1, 0.5, 10],
        [1, 0.1, 35],
        [2, 0.5, 5],
        [2, 0.1, -1],
    ]
