"""Networks of torchvision by name: layer names, and initial weights drawn from the generator."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from nfa.alignment import measure_covariances
from nfa.conventions import READOUT
from nfa.data import DataShape
from nfa.entries import entry_of
from nfa.errors import UserError
from nfa.models import MODELS, LayerShape
from nfa.models.torchvision_model import TorchvisionModel
from tests.models.test_models import built_layers

ENTRY = MODELS["torchvision:NAME"]
GREY = DataShape((1, 32, 32), 5, 5, 100, 10)
COLOUR = DataShape((3, 32, 32), 5, 5, 100, 10)
CASES = [("resnet18", GREY), ("resnet18", COLOUR), ("shufflenet_v2_x0_5", GREY), ("squeezenet1_1", COLOUR)]


def build(name: str, shape: DataShape, seed: int = 0) -> nn.Module:
    settings = TorchvisionModel(name=f"torchvision:{name}")
    return ENTRY.build(settings, shape, torch.Generator().manual_seed(seed))


def test_the_name_finds_the_entry() -> None:
    assert entry_of(MODELS, "torchvision:resnet18") is ENTRY


@pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
def test_the_layers_promised_are_the_layers_built_and_measured(name: str, shape: DataShape) -> None:
    model = build(name, shape).eval()
    promised = ENTRY.layers(TorchvisionModel(name=f"torchvision:{name}"), shape)
    inputs = torch.randn(2, *shape.input_shape)
    measured = measure_covariances(model, inputs).layers
    assert list(measured) == [layer.name for layer in promised]
    assert [layer.readout for layer in promised] == [
        measured[layer.name].depth_from_output == READOUT for layer in promised
    ]
    assert built_layers(model, inputs) == tuple(replace(layer, readout=False) for layer in promised)
    assert {f"{layer.name}.weight" for layer in promised} <= set(model.state_dict())


def test_attention_that_shares_a_weight_is_promised_in_parts() -> None:
    promised = ENTRY.layers(TorchvisionModel(name="torchvision:vit_b_32"), COLOUR)
    first = "encoder.layers.encoder_layer_0.self_attention."
    assert [layer for layer in promised if layer.name.startswith(first)] == [
        LayerShape(f"{first}{part}", 768, 768, 2) for part in ("q", "k", "v", "out_proj")
    ]


def test_all_draws_come_from_the_generator_and_leave_the_global_one_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build("shufflenet_v2_x0_5", GREY).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = build("shufflenet_v2_x0_5", GREY).state_dict(), build("shufflenet_v2_x0_5", GREY, 1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.0.weight"], other["conv1.0.weight"])


def test_grey_images_are_read_as_colour_images_of_three_equal_channels() -> None:
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        grey, colour = build("resnet18", GREY).eval(), build("resnet18", COLOUR).eval()
        assert torch.equal(grey(images), colour(images.repeat(1, 3, 1, 1)))


def test_training_draws_nothing_and_reduces_the_loss() -> None:
    model = build("squeezenet1_1", COLOUR)
    images, targets = torch.randn(4, 3, 32, 32), torch.randn(4, 5)
    model.train()
    outputs = model(images)
    assert torch.equal(model(images), outputs)  # no dropout
    loss = (outputs - targets).square().mean()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.sub_(1e-3 * parameter.grad)
        assert (model(images) - targets).square().mean() < loss


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet81", COLOUR, "torchvision has no network 'resnet81'; did you mean 'resnet"),
        ("resnet18", DataShape((2, 32, 32), 5, 5, 100, 10), "reads 1 or 3 channels; the data have 2"),
        ("vit_b_16", DataShape((3, 28, 28), 5, 5, 100, 10), "cannot be built for images of 3 x 28 x 28"),
        ("alexnet", DataShape((3, 8, 8), 5, 5, 100, 10), "on images of 3 x 8 x 8"),
    ],
)
def test_what_torchvision_cannot_do_is_one_line(name: str, shape: DataShape, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ENTRY.layers(TorchvisionModel(name=f"torchvision:{name}"), shape)
    assert "\n" not in str(caught.value)


def test_planning_other_networks_needs_no_torchvision() -> None:
    subprocess.run(
        [sys.executable, "-c", "import nfa.models, sys; assert 'torchvision' not in sys.modules"], check=True
    )
