"""VGG-11 with the published classifier: its layers, its initial weights, its dropout, and a short training run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nfa.data.shape import DataShape
from nfa.models import MODELS
from nfa.models.vgg11 import VGG11
from nfa.storage.checkpoints import load_tensors, save_tensors
from nfa.sweep.cells import Cell
from nfa.training import TrainingRun, load_data
from nfa.training.evaluate import evaluate
from tests.helpers import tiny_sweep

CIFAR = DataShape((3, 32, 32), 10, 10, 100, 10)
CPU = torch.device("cpu")


def network(settings: VGG11, shape: DataShape = CIFAR) -> nn.Sequential:
    """Build a network."""
    model = MODELS["vgg11"].build(settings, shape, torch.Generator().manual_seed(0))
    assert isinstance(model, nn.Sequential)
    return model


def test_the_layers_are_the_published_ones() -> None:
    *convolutions, first, second, readout = MODELS["vgg11"].layers(VGG11(classifier="published"), CIFAR)
    assert convolutions == list(MODELS["vgg11"].layers(VGG11(), CIFAR)[:-1])
    sizes = [(layer.fan_in, layer.fan_out, layer.positions) for layer in (first, second, readout)]
    assert sizes == [(512, 4096, 1), (4096, 4096, 1), (4096, 10, 1)]


def test_the_initial_weights_are_those_of_torch_s_functions() -> None:
    for module in network(VGG11(classifier="published")):
        if isinstance(module, nn.Conv2d | nn.Linear):
            expected = torch.empty_like(module.weight)
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(expected, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.normal_(expected, 0, 0.01)
            assert module.weight.std().item() == pytest.approx(expected.std().item(), rel=6 / expected.numel() ** 0.5)
            assert abs(module.weight.mean().item()) < 5 * expected.std().item() / expected.numel() ** 0.5
            assert module.bias is not None
            assert not module.bias.any()


def test_other_initial_weights_may_be_chosen() -> None:
    assert VGG11(classifier="published").init == "vgg"
    assert VGG11(classifier="published", init="pytorch").init == VGG11().init == "pytorch"


def test_larger_images_are_averaged_over_their_remaining_pixels() -> None:
    shape = DataShape((1, 96, 64), 3, 3, 100, 10)
    model = network(VGG11(width=2, classifier="published"), shape).eval()
    images = torch.randn(2, 1, 96, 64)
    before = model[: [name for name, _ in model.named_children()].index("average")](images)
    assert before.shape == (2, 16, 3, 2)
    after = model[[name for name, _ in model.named_children()].index("flatten") + 1 :](before.mean((2, 3)))
    assert torch.allclose(after, model(images), atol=1e-6)


def test_dropout_is_active_in_training_only() -> None:
    model, images = network(VGG11(width=4, classifier="published", init="he")), torch.randn(3, 3, 32, 32)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))
    assert [module.p for module in model if isinstance(module, nn.Dropout)] == [0.5, 0.5]


def cell(**model: Any) -> Cell:
    """A cell with 200 images of 28 pixels."""
    (only,) = tiny_sweep(
        data=[{"name": "fashion_mini", "n_train": 200, "n_test": 100}],
        model=[{"name": "vgg11", "width": 8, **model}],
        optimizer=[{"name": "adam", "lr": 0.003}],
    ).cells
    return only


def weights(run: TrainingRun) -> torch.Tensor:
    """All weights as one vector."""
    return torch.cat([value.flatten() for value in run.model.state_dict().values()])


def test_it_trains_and_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    published = cell(classifier="published")
    whole = TrainingRun(published, 0, load_data(published, 0, CPU))
    before = evaluate(whole.model, whole.materials, "train", whole.loss)["loss"]
    while whole.step < 80:
        whole.advance()
        if whole.step == 50:
            save_tensors(tmp_path / "s.safetensors", *whole.state())
    assert before == pytest.approx(0.09, rel=0.01)  # of one-hot codes, for outputs near 0
    assert evaluate(whole.model, whole.materials, "train", whole.loss)["loss"] < 0.85 * before
    taken_up = TrainingRun(published, 0, load_data(published, 0, CPU))
    taken_up.restore(*load_tensors(tmp_path / "s.safetensors", {}))
    torch.manual_seed(99)
    while taken_up.step < 80:
        taken_up.advance()
    assert torch.equal(weights(taken_up), weights(whole))


def test_ids_of_cells_without_the_classifier_do_not_change() -> None:
    assert cell().id == cell(classifier="readout").id
    assert "published" not in cell().id
    assert "published" in cell(classifier="published").id
