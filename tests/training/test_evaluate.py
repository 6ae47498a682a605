"""Evaluation of a network, and the best constant prediction."""

import torch

from nfa.losses import LOSSES, squared_error
from nfa.sweep.cells import Cell
from nfa.training import build_model, load_data
from nfa.training.evaluate import constant_predictor, evaluate
from tests.helpers import tiny_sweep

CPU = torch.device("cpu")


def cells(**changes: object) -> tuple[Cell, ...]:
    """Return the cells of the small sweep."""
    return tiny_sweep(**changes).cells


def test_nothing_constant_beats_the_constant_predictor_on_the_training_set() -> None:
    cell = cells()[0]
    materials = load_data(cell, 0, CPU)
    for name, loss in LOSSES.items():
        best = constant_predictor(materials, name, loss)["train_loss"]
        assert best is not None
        for seed in range(20):
            shift = torch.randn(1, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            assert loss((0.3 * shift).expand(200, -1), materials.y_train.double()).item() > best


def test_evaluating_leaves_mode_and_gradients_alone() -> None:
    cell = cells()[0]
    model, materials = build_model(cell, 0, CPU).train(), load_data(cell, 0, CPU)
    evaluate(model, materials, "test", squared_error)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
