"""The model axis: layers promised without torch are those of the built network and of a measurement."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from nfa.alignment import measure_covariances
from nfa.conventions import READOUT
from nfa.data import DataShape
from nfa.models import MODELS, LayerShape
from nfa.models.conv import Conv
from nfa.models.deep_linear import DeepLinear
from nfa.models.mlp import MLP
from nfa.models.recurrent import RecurrentSettings as Recurrent
from nfa.models.resnet import ResNet
from nfa.models.transformer import Transformer
from nfa.models.vgg11 import VGG11

IMAGE = DataShape((1, 28, 28), 10, 10, 100, 10)
ODD_IMAGE = DataShape((3, 9, 6), 4, 4, 100, 10)
TINY_IMAGE = DataShape((2, 1, 1), 3, 3, 100, 10)
VECTOR = DataShape((7,), 1, None, 100, 10)
TOKENS = DataShape((5,), 4, 4, 100, 10, vocabulary=11)
ONE_TOKEN = DataShape((1,), 2, 2, 100, 10, vocabulary=3)

CASES: list[tuple[Any, DataShape]] = [
    (MLP(depth=2, width=5), VECTOR),
    (MLP(depth=0), VECTOR),
    (MLP(depth=4, width=6, bias=True, activation="gelu", init="pytorch"), IMAGE),
    (MLP(depth=3, width=6, bias=True, activation="erf", init="orthogonal", parametrisation="mup"), ODD_IMAGE),
    (MLP(depth=1, width=6, activation="quadratic", init="xavier", parametrisation="ntk"), VECTOR),
    (MLP(depth=0, init="normal", init_std=0.1, parametrisation="mup"), VECTOR),
    (DeepLinear(depth=0), VECTOR),
    (DeepLinear(depth=3, width=9), ODD_IMAGE),
    (DeepLinear(depth=2, width=3, init="lecun"), IMAGE),
    (Conv(depth=3, width=4), IMAGE),
    (Conv(depth=5, width=2, bias=True, activation="tanh", init="pytorch"), ODD_IMAGE),
    (Conv(depth=12, width=3, init="orthogonal"), ODD_IMAGE),
    (Conv(depth=2, width=3, activation="quadratic", init="lecun"), TINY_IMAGE),
    (VGG11(width=2), IMAGE),
    (VGG11(width=3), ODD_IMAGE),
    (VGG11(width=2, depth=11, bias=False, init="he"), IMAGE),
    (VGG11(width=2), TINY_IMAGE),
    (VGG11(width=2, classifier="published"), IMAGE),
    (VGG11(width=1, depth=3, bias=False, classifier="published", init="he"), ODD_IMAGE),
    (ResNet(width=3), IMAGE),
    (ResNet(width=2, norm="batch", bias=True), ODD_IMAGE),
    (ResNet(width=2, depth=5, norm="none", activation="gelu"), TINY_IMAGE),
    (Transformer(width=12, heads=3), IMAGE),
    (Transformer(width=5, heads=1, patch=4, bias=False, expansion=2, init="normal"), ODD_IMAGE),
    (Transformer(width=8, heads=2, depth=3), TOKENS),
    (Transformer(width=8), ONE_TOKEN),
    (Recurrent(width=6), IMAGE),
    (Recurrent(width=6, depth=2, bias=True), ODD_IMAGE),
    (Recurrent(width=6, depth=3, activation="relu", init="he"), TOKENS),
    (Recurrent(width=6), ONE_TOKEN),
    (Recurrent(width=6, chunk=3), VECTOR),
]
FAMILIES: dict[str, tuple[Any, dict[str, Any], list[DataShape]]] = {
    "mlp": (MLP, {"width": 8}, [VECTOR, ODD_IMAGE]),
    "deep_linear": (DeepLinear, {"width": 8}, [VECTOR, ODD_IMAGE]),
    "conv": (Conv, {"width": 4}, [ODD_IMAGE]),
    "vgg11": (VGG11, {"width": 2}, [ODD_IMAGE]),
    "resnet": (ResNet, {"width": 4}, [ODD_IMAGE]),
    "transformer": (Transformer, {"width": 8, "patch": 3}, [ODD_IMAGE, TOKENS]),
    "recurrent": (Recurrent, {"width": 8}, [VECTOR, ODD_IMAGE, TOKENS]),
}
AT_EVERY_DEPTH = [
    (kind(depth=depth, **settings), shape)
    for kind, settings, shapes in FAMILIES.values()
    for depth in (1, 2, 3, 4)
    for shape in shapes
]


def name_case(value: Any) -> str:
    """Name a case in the test's id."""
    return value.kind if isinstance(value, DataShape) else f"{value.name} {value.model_dump(exclude_defaults=True)}"


def generator(seed: int = 0) -> torch.Generator:
    """Return a seeded generator."""
    return torch.Generator().manual_seed(seed)


def samples(shape: DataShape, n: int, seed: int = 0) -> Tensor:
    """Draw inputs of the shape that the data have."""
    if shape.vocabulary is not None:
        return torch.randint(shape.vocabulary, (n, *shape.input_shape), generator=generator(seed))
    return torch.randn(n, *shape.input_shape, generator=generator(seed))


def built_layers(model: nn.Module, inputs: Tensor) -> tuple[LayerShape, ...]:
    """List the matrices of a network in the order of their first calls, from hooks on its modules."""
    positions: dict[str, int] = {}
    modules = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    for name, module in modules.items():

        def count(module: nn.Module, _: Any, out: Tensor, name: str = name) -> None:
            assert isinstance(module.weight, Tensor)
            positions[name] = positions.get(name, 0) + out.numel() // (len(inputs) * len(module.weight))

        module.register_forward_hook(count)
    model(inputs)
    assert set(positions) == set(modules)
    return tuple(
        LayerShape(name, len(modules[name].weight), modules[name].weight[0].numel(), places)
        for name, places in positions.items()
    )


@pytest.mark.parametrize(("settings", "shape"), CASES + AT_EVERY_DEPTH, ids=name_case)
def test_the_layers_promised_are_the_layers_built_and_measured(settings: Any, shape: DataShape) -> None:
    entry = MODELS[settings.name]
    assert shape.kind in entry.reads
    model = entry.build(settings, shape, generator())
    inputs = samples(shape, 3)
    promised = entry.layers(settings, shape)
    assert model(inputs).shape == (3, shape.outputs)
    measured = measure_covariances(model, inputs)
    assert list(measured.layers) == [layer.name for layer in promised]
    for layer in promised:
        assert measured.layers[layer.name].own_weight.shape == (layer.fan_out, layer.fan_in)
        assert (measured.layers[layer.name].depth_from_output == READOUT) == layer.readout
    assert measured.left_out == {}  # no matrix is beside the promised ones
    assert built_layers(model, inputs) == tuple(replace(layer, heads=1, readout=False) for layer in promised)
    if any(layer.heads > 1 for layer in promised):
        names = [[f"{it.name}.{head}" for head in range(it.heads)] if it.heads > 1 else [it.name] for it in promised]
        assert list(measure_covariances(model, inputs, heads=True).layers) == list(chain(*names))


@pytest.mark.parametrize(("settings", "shape"), CASES, ids=name_case)
def test_all_draws_come_from_the_generator(settings: Any, shape: DataShape) -> None:
    entry = MODELS[settings.name]
    torch.manual_seed(1)
    first = entry.build(settings, shape, generator()).state_dict()
    torch.manual_seed(2)
    again = entry.build(settings, shape, generator()).state_dict()
    other = entry.build(settings, shape, generator(1)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(
        torch.equal(first[layer.name + ".weight"], other[layer.name + ".weight"])
        for layer in entry.layers(settings, shape)
    )


@pytest.mark.parametrize(("settings", "shape"), AT_EVERY_DEPTH, ids=name_case)
def test_training_reduces_the_loss_and_no_sample_sees_another(settings: Any, shape: DataShape) -> None:
    model = MODELS[settings.name].build(settings, shape, generator()).double()
    inputs = samples(shape, 8)
    inputs = inputs if shape.vocabulary is not None else inputs.double()
    outputs = model(inputs)
    assert torch.allclose(torch.cat([model(inputs[:3]), model(inputs[3:])]), outputs)
    targets = torch.randn(outputs.shape, generator=generator(1), dtype=torch.float64)
    loss = (outputs - targets).square().mean()
    loss.backward()
    norm = sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.sub_(1e-4 / norm * parameter.grad)
    after = (model(inputs) - targets).square().mean()
    assert loss.item() - after.item() == pytest.approx(1e-4, rel=0.05)


def test_default_initial_weights_never_change() -> None:
    found = []
    cases: list[Any] = [
        MLP(),
        MLP(depth=3, width=20, bias=True, init="pytorch", init_scale=0.3),
        Conv(),
        Conv(depth=5, bias=True, init="pytorch"),
    ]
    for settings in cases:
        state = MODELS[settings.name].build(settings, ODD_IMAGE, generator(3)).state_dict()
        bits = b"".join(value.numpy().tobytes() for value in state.values())
        found.append(hashlib.sha256(bits).hexdigest()[:16])
    assert found == ["d9ab6faf70eb06ed", "0d1e982278e4aee5", "3d11752c2923acc1", "b4553c581673e7b5"]


@pytest.mark.parametrize(
    ("scheme", "variance"),
    [
        ("he", 2 / 400),
        ("pytorch", 1 / (3 * 400)),
        ("lecun", 1 / 400),
        ("xavier", 2 / 900),
        ("orthogonal", 1 / 500),
        ("normal", 0.02**2),
    ],
)
def test_initial_weights_have_the_promised_scale(scheme: Any, variance: float) -> None:
    shape = DataShape((400,), 1, None, 10, 10)
    settings = MLP(depth=1, width=500, init=scheme, init_scale=0.3)
    weight = MODELS["mlp"].build(settings, shape, generator()).state_dict()["hidden0.weight"]
    assert weight.var().item() == pytest.approx(0.09 * variance, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=0.01 * variance**0.5)


@pytest.mark.parametrize("width", [3, 40])
def test_orthogonal_weights_have_equal_singular_values_in_convolutions_too(width: int) -> None:
    settings = Conv(depth=2, width=width, init="orthogonal", init_scale=0.5)
    for name, weight in MODELS["conv"].build(settings, ODD_IMAGE, generator()).state_dict().items():
        values = torch.linalg.svdvals(weight.flatten(1).double())
        assert values.numpy() == pytest.approx(0.5, rel=1e-5), name


def test_normalisation_in_a_residual_net_is_a_choice() -> None:
    for norm, kind in (("batch", nn.BatchNorm2d), ("group", nn.GroupNorm), ("none", nn.Identity)):
        model = MODELS["resnet"].build(ResNet(norm=norm), IMAGE, generator())  # type: ignore[arg-type]
        assert isinstance(model.get_submodule("blocks.1.norm2"), kind)


def test_a_residual_net_without_normalisation_stays_finite_at_any_depth() -> None:
    model = MODELS["resnet"].build(ResNet(depth=60, width=8, norm="none"), IMAGE, generator())
    assert model(samples(IMAGE, 8)).std() < 100


def test_vgg_is_the_published_one_on_images_of_32_pixels() -> None:
    shapes = MODELS["vgg11"].layers(VGG11(), DataShape((3, 32, 32), 10, 10, 100, 10))
    assert [layer.fan_out for layer in shapes] == [64, 128, 256, 256, 512, 512, 512, 512, 10]
    assert [layer.positions for layer in shapes] == [1024, 256, 64, 64, 16, 16, 4, 4, 1]
    assert shapes[-1].fan_in == 512


def test_a_recurrent_net_reads_in_order() -> None:
    model = MODELS["recurrent"].build(Recurrent(width=8), IMAGE, generator())
    images = samples(IMAGE, 4)
    states = model.get_submodule("cells.0")(model.get_submodule("sequence")(images))
    images[:, :, 14:] = 0
    changed = model.get_submodule("cells.0")(model.get_submodule("sequence")(images))
    assert torch.equal(states[:, :14], changed[:, :14])
    assert not torch.equal(states[:, 14], changed[:, 14])


def test_attention_sees_all_positions_and_their_order() -> None:
    model = MODELS["transformer"].build(Transformer(width=8, heads=2), TOKENS, generator())
    tokens = samples(TOKENS, 4)
    assert not torch.allclose(model(tokens), model(tokens.flip(1)))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Transformer, {"width": 10, "heads": 3}, "3 heads do not divide a width of 10"),
        (MLP, {"init_std": 0.1}, "use init: normal"),
        (MLP, {"base_width": 32}, "only used with parametrisation: mup"),
        (Conv, {"init": "xavier", "init_std": 0.1}, "use init: normal"),
    ],
)
def test_settings_that_would_do_nothing_or_do_not_fit_are_refused(kind: Any, settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind(**settings)


def test_the_axis_is_planned_without_torch() -> None:
    code = (
        "import sys; from nfa.models import MODELS; from nfa.data import DataShape\n"
        "image = DataShape((3, 32, 32), 10, 10, 100, 10)\n"
        "own = [entry for name, entry in MODELS.items() if ':' not in name]\n"
        "assert all(entry.layers(entry.settings(), image) for entry in own) and len(own) >= 7\n"
        "assert all(entry.lr_factors(entry.settings(), image) == {} for entry in own)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
