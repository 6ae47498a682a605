"""The model axis: what is promised without torch is what is built."""

import pytest
import torch
from torch import nn

from nfa.data import DataShape
from nfa.models import MODELS, LayerShape
from nfa.models.conv import Conv
from nfa.models.mlp import MLP

IMAGE = DataShape((1, 28, 28), 10, 10, 100, 10)
ODD_IMAGE = DataShape((3, 9, 6), 4, 4, 100, 10)
VECTOR = DataShape((7,), 1, None, 100, 10)
CASES: list[tuple[MLP | Conv, DataShape]] = [
    (MLP(depth=2, width=5), VECTOR),
    (MLP(depth=0), VECTOR),
    (MLP(depth=4, width=6, bias=True, activation="gelu", init="pytorch"), IMAGE),
    (Conv(depth=3, width=4), IMAGE),
    (Conv(depth=5, width=2, bias=True, activation="tanh", init="pytorch"), ODD_IMAGE),
]


def generator(seed: int = 0) -> torch.Generator:
    """Return a seeded generator."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("settings", "shape"), CASES, ids=repr)
def test_the_layers_promised_are_the_layers_built(settings: MLP | Conv, shape: DataShape) -> None:
    entry = MODELS[settings.name]
    model = entry.build(settings, shape, generator())
    positions: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda _, __, out, name=name: positions.update({name: out[0, 0].numel()}))
    outputs = model(torch.zeros(2, *shape.input_shape))
    assert outputs.shape == (2, shape.outputs)
    built = tuple(
        LayerShape(name, module.weight.shape[0], module.weight[0].numel(), positions[name])
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    )
    assert built == entry.layers(settings, shape)


@pytest.mark.parametrize(("settings", "shape"), CASES, ids=repr)
def test_all_draws_come_from_the_generator(settings: MLP | Conv, shape: DataShape) -> None:
    entry = MODELS[settings.name]
    torch.manual_seed(1)
    first = entry.build(settings, shape, generator()).state_dict()
    torch.manual_seed(2)
    again = entry.build(settings, shape, generator()).state_dict()
    other = entry.build(settings, shape, generator(1)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_initial_weights_have_the_promised_scale() -> None:
    shape = DataShape((400,), 1, None, 10, 10)
    for scheme, variance in (("he", 2 / 400), ("pytorch", 1 / (3 * 400))):
        settings = MLP(depth=1, width=500, init=scheme, init_scale=0.3)  # type: ignore[arg-type]
        weight = MODELS["mlp"].build(settings, shape, generator()).state_dict()["hidden0.weight"]
        assert weight.var().item() == pytest.approx(0.09 * variance, rel=0.02)
