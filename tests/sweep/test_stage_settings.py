"""Steps, batches and checkpoints of a run."""

import numpy as np
import pytest

from nfa.sweep.grid import parse
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
