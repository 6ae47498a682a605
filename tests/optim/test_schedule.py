"""Learning rates over training: schedules and warm-up."""

import re
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, strategies

from nfa.errors import SweepError
from nfa.optim import OPTIMIZERS
from nfa.optim.entry import OptimizerSettings, WarmStart
from nfa.optim.schedule import SCHEDULES, ScheduleName, schedule_factor
from nfa.sweep.cells import Cell
from nfa.sweep.grid import parse
from nfa.training import TrainingRun, load_data
from tests.helpers import tiny


def test_schedules_start_at_one_and_decay_to_zero() -> None:
    assert [schedule_factor("constant", step, 10) for step in (0, 5, 10)] == [1, 1, 1]
    assert [schedule_factor("linear", step, 10) for step in (0, 5, 10)] == [1, 0.5, 0]
    assert [schedule_factor("cosine", step, 10) for step in (0, 5, 10)] == pytest.approx([1, 0.5, 0])


def test_warm_up_rises_to_one_and_then_the_schedule_runs() -> None:
    factors = [schedule_factor("linear", step, 10, warmup=0.4) for step in range(11)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[4:] == pytest.approx([1 - i / 6 for i in range(7)])
    assert [schedule_factor("cosine", step, 10, warmup=1.0) for step in (0, 9, 10)] == pytest.approx(
        [1 / 11, 10 / 11, 1]
    )
    for schedule in ("constant", "linear", "cosine"):
        assert [schedule_factor(schedule, step, 7) for step in range(8)] == [
            schedule_factor(schedule, step, 7, 0.0) for step in range(8)
        ]
        assert all(0 < schedule_factor(schedule, step, 9, 0.3) <= 1 for step in range(9))


@pytest.mark.parametrize("step", [0, 5])
def test_a_mistyped_schedule_is_refused_also_during_warm_up(step: int) -> None:
    with pytest.raises(ValueError, match=re.escape("schedule: 'cosin': did you mean 'cosine'? valid: constant")):
        schedule_factor("cosin", step, 10, warmup=0.3)


def test_the_sweep_file_has_the_same_schedules() -> None:
    assert get_args(ScheduleName) == SCHEDULES


@given(
    schedule=strategies.sampled_from(SCHEDULES),
    epochs=strategies.integers(1, 5),
    steps_per_epoch=strategies.integers(1, 9),
    rest=strategies.integers(1, 30),
)
def test_a_warm_start_is_constant_and_then_the_schedule_runs_from_its_beginning(
    schedule: ScheduleName, epochs: int, steps_per_epoch: int, rest: int
) -> None:
    warm = OptimizerSettings(lr=0.4, schedule=schedule, warm_start=WarmStart(epochs=epochs, lr=0.01))
    cold = OptimizerSettings(lr=0.4, schedule=schedule)
    early = epochs * steps_per_epoch
    rates = [warm.lr_at(step, early + rest, steps_per_epoch) for step in range(early + rest)]
    assert rates[:early] == [0.01] * early
    assert rates[early:] == [cold.lr_at(step, rest, steps_per_epoch) for step in range(rest)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_multiplies_lr_alone_by_a_tenth_of_the_classes(name: str) -> None:
    kind: Any = OPTIMIZERS[name].settings
    settings = kind(name=name, lr=0.1, lr_times="classes/10")
    found = settings.for_classes(100)
    assert found == kind(name=name, lr=1.0)
    with pytest.raises(ValueError, match="lr_times: classes/10 needs classes, and a regression has none; leave it out"):
        settings.for_classes(None)


def cells(optimizer: dict[str, object], **changes: object) -> tuple[Cell, ...]:
    document = {"data": [{"name": "iris"}], "train": {"epochs": 3, "batch_size": 40}, **changes}
    return parse(tiny(**document, optimizer=[optimizer]), "x").cells


def test_a_cell_is_that_of_the_product() -> None:
    (scaled,), (written,) = (
        cells({"name": "sgd", **more}) for more in ({"lr": 1, "lr_times": "classes/10"}, {"lr": 0.3})
    )
    assert scaled.content == written.content
    assert scaled.optimizer.lr == 0.3
    assert scaled.parameters()["optimizer"]["lr_times"] == "classes/10"


def test_training_uses_both() -> None:
    warm = {"epochs": 1, "lr": 1e-4}
    (cell,) = cells({"name": "sgd", "lr": 1, "lr_times": "classes/10", "warm_start": warm, "schedule": "linear"})
    run = TrainingRun(cell, 0, load_data(cell, 0, torch.device("cpu")))
    rates = []
    while not run.done:
        run.advance()
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-4] * 3 + [0.3 * (1 - i / 6) for i in range(6)])


@pytest.mark.parametrize(
    ("optimizer", "changes", "message"),
    [
        ({"lr_times": "classes/9"}, {}, "optimizer[0].lr_times: 'classes/9': did you mean 'classes/10'? valid: clas"),
        ({"lr_times": "classes/10"}, {"data": [{"name": "diabetes"}]}, "needs classes, but diabetes is a regression"),
        ({"warm_start": {"epochs": 1}}, {}, "optimizer[0].warm_start.lr: missing; it has no default"),
        ({"warm_start": {"lr": 0.1}, "warmup": 0.1}, {}, "warm_start: warmup: 0.1 is given too; keep one of them"),
        (
            {"warm_start": {"lr": 0.1, "epochs": 3}},
            {},
            "warm_start.epochs: 3 is as long as the training, which has 3; train longer, or use fewer",
        ),
    ],
    ids=str,
)
def test_mistakes_are_one_line(optimizer: dict[str, object], changes: dict[str, object], message: str) -> None:
    with pytest.raises(SweepError) as error:
        cells({"name": "sgd", **optimizer}, **changes)
    assert message in str(error.value)
