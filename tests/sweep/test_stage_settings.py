"""Steps, batches and checkpoints of a run."""

from itertools import pairwise
from random import Random
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings, strategies

from nfa.errors import SweepError
from nfa.sweep.grid import parse
from nfa.sweep.stage_settings import Train, Until
from tests.helpers import tiny


@pytest.mark.parametrize("checkpoints", [1, 2, 5, 8, 40])
@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_checkpoints_start_at_zero_end_at_the_last_step_and_are_spaced_as_said(steps: int, checkpoints: int) -> None:
    document = tiny(train={"steps": steps, "checkpoints": checkpoints})
    kept = parse(document, "x").cells[0].train.checkpoint_steps(200)
    assert kept[0] == 0
    assert kept[-1] == steps
    assert kept == sorted(set(kept))
    assert len(kept) <= checkpoints + 1
    if (steps, checkpoints) == (1000, 8):
        assert kept == [0, 1, 3, 7, 19, 52, 139, 373, 1000]
    document["train"]["spacing"] = "linear"
    kept = parse(document, "x").cells[0].train.checkpoint_steps(200)
    assert (kept[0], kept[-1], len(kept)) == (0, steps, min(steps, checkpoints) + 1)
    assert max(np.diff(kept)) - min(np.diff(kept)) <= 1


@given(
    n=strategies.integers(1, 500),
    batch_size=strategies.integers(1, 600),
    steps=strategies.integers(1, 300),
)
def test_every_epoch_is_a_checkpoint_at_the_end_of_each_epoch_and_of_the_run(
    n: int, batch_size: int, steps: int
) -> None:
    train = Train(steps=steps, batch_size=batch_size, checkpoints="every_epoch")
    kept, per_epoch = train.checkpoint_steps(n), -(-n // batch_size)
    assert kept == sorted({step for step in range(steps + 1) if step % per_epoch == 0} | {steps})


def test_epochs_count_a_smaller_last_batch() -> None:
    train = parse(tiny(train={"epochs": 3, "batch_size": 64}), "x").cells[0].train
    assert train.total_steps(200) == 3 * 4
    assert parse(tiny(train={"batch_size": "full"}), "x").cells[0].train.batch(200) == 200


def test_another_order_of_quantities_is_the_same_setting() -> None:
    hashes = []
    for names in (["uc_nfc", "c_nfc"], ["c_nfc", "uc_nfc", "c_nfc"], ["uc_nfc"], None):
        sweep = parse(tiny(measure={} if names is None else {"quantities": names}), "x")
        hashes.append(sweep.hashes(sweep.cells[0])["measure"])
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def train_of(**train: object) -> Train:
    return parse(tiny(train={"steps": 2000, "batch_size": 32, **train}), "x").cells[0].train


@settings(max_examples=60, deadline=None)
@given(
    steps=strategies.integers(1, 10**9),
    batch_size=strategies.sampled_from([1, 7, 32, 200, "full"]),
    checkpoints=strategies.integers(1, 40),
)
def test_looks_are_between_the_steps_that_are_recorded_and_few(
    steps: int, batch_size: int | Literal["full"], checkpoints: int
) -> None:
    train = Train(steps=steps, batch_size=batch_size, checkpoints=checkpoints, until=Until(train_loss=0.1))
    looks = train.look_steps(200)
    assert all(0 < step < steps for step in looks)
    assert not looks & train.evaluation_steps(200)
    observed = sorted(looks | train.evaluation_steps(200))
    assert all(b <= max(a + 1, 1.05 * a + 1) for a, b in pairwise(observed))
    assert len(looks) <= 440
    assert not train.model_copy(update={"until": None}).look_steps(200)


@given(
    losses=strategies.lists(strategies.floats(1e-9, 1e9, allow_nan=False), min_size=1, max_size=6),
    random=strategies.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_losses_of_checkpoints_in_any_order_are_one_setting(losses: list[float], random: Random) -> None:
    shuffled = [*losses, losses[0]]
    random.shuffle(shuffled)
    cell, other = (parse(tiny(train={"checkpoints_at_loss": each}), "x").cells[0] for each in (losses, shuffled))
    assert cell.id == other.id
    assert list(cell.train.checkpoints_at_loss or ()) == sorted(set(losses), reverse=True)


def test_lists_of_losses_and_values_of_until_are_grids() -> None:
    train = {"checkpoints_at_loss": [[0.5, 0.1], [0.2]], "until": {"train_loss": [0.1, 0.01]}, "steps": 100}
    found = {(cell.train.checkpoints_at_loss, cell.train.until) for cell in parse(tiny(train=train), "x").cells}
    assert found == {(at, Until(train_loss=loss)) for at in ((0.5, 0.1), (0.2,)) for loss in (0.1, 0.01)}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"checkpoints": "every_epoch", "spacing": "linear"}, "spacing: linear has no effect with checkpoints: every"),
        ({"checkpoints": "every_epoch", "batch_size": "full"}, "every_epoch is more than 1,000 checkpoints, as an ep"),
        ({"checkpoints": 1001}, "train: checkpoints: 1001 is too large; use 1 to 1000, or every_epoch"),
        ({"checkpoints": 0}, "train: checkpoints: 0 is too small; use 1 to 1000, or every_epoch"),
        ({"until": {}}, "train.until.train_loss: give either this or train_accuracy"),
        ({"until": {"train_loss": 0.1, "train_accuracy": 0.9}}, "until.train_loss: give either this or"),
        ({"until": {"train_los": 0.1}}, "train.until: train_los: no such setting; did you mean 'train_loss'?"),
        ({"until": {"train_loss": 0}}, "train.until.train_loss: 0 is out of range; use a value more than 0"),
        ({"until": 0.1}, "train.until: 0.1 is not a mapping"),
        ({"until": {"train_accuracy": 0.9}}, "until.train_accuracy: chain_monomial is a regression and has no accu"),
        ({"checkpoints_at_loss": 0.1}, "train.checkpoints_at_loss: 0.1 is not a list"),
        ({"checkpoints_at_loss": [0]}, "train: checkpoints_at_loss: 0 is no training loss; use numbers above 0"),
        ({"checkpoints_at_loss": [[]]}, "checkpoints_at_loss: the list is empty; give at least one training loss"),
        (
            {"checkpoints_at_loss": [0.01], "until": {"train_loss": 0.1}},
            "checkpoints_at_loss: 0.01 is below 0.1, the loss at which until stops the run; use losses of at least 0.1",
        ),
    ],
    ids=str,
)
def test_mistakes_are_one_line(train: dict[str, object], message: str) -> None:
    with pytest.raises(SweepError) as error:
        train_of(**train)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
