"""A network of the user, named in the sweep file as module:function."""

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nfa.alignment import measure_covariances
from nfa.conventions import READOUT
from nfa.data import DataShape
from nfa.entries import USERS_OWN, entry_of
from nfa.errors import UserError
from nfa.models import MODELS, LayerShape
from nfa.models.user_function import FunctionModel

ENTRY = MODELS[USERS_OWN]
VECTOR = DataShape((6,), 3, 3, 100, 10)
IMAGE = DataShape((1, 4, 4), 3, 3, 100, 10)
TOKENS = DataShape((5,), 3, 3, 100, 10, vocabulary=7)

CODE = """
import random
import numpy as np
import torch
from torch import nn

SAID = []


def plain():
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


def fitted(input_shape, outputs, depth=1, **others):
    SAID.append(others)
    size = int(np.prod(input_shape))
    return nn.Sequential(nn.Flatten(), *[nn.Linear(size, size) for _ in range(depth)], nn.Linear(size, outputs))


def tokens(vocabulary, outputs):
    return nn.Sequential(nn.Embedding(vocabulary, 4), nn.Flatten(), nn.Linear(20, outputs))


def random_of_all_kinds(outputs):
    model = nn.Linear(6, outputs)
    with torch.no_grad():
        model.weight += random.random() + np.random.rand()
    return model


def lazy():
    return nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.LazyLinear(3))


class Attention(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.rnn = nn.GRU(6, 4, batch_first=True)
        self.head = nn.Parameter(torch.randn(4, outputs))

    def forward(self, x):
        x = x[:, None].expand(-1, 5, -1)
        return self.rnn(self.attention(x, x, x)[0])[0][:, -1] @ self.head


class Experts(nn.Module):
    def __init__(self, outputs, unused=False):
        super().__init__()
        self.first, self.stack = nn.Linear(6, 4), nn.Parameter(torch.randn(3, 4, 4))
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3 + unused))
        self.readout = nn.Linear(4, outputs)

    def forward(self, x):
        h, chosen = self.first(x), x[:, :3].argmax(1)
        for stacked in (True, False):
            out = torch.zeros_like(h)
            for e in chosen.unique().tolist():
                rows = (chosen == e).nonzero().flatten()
                product = h[rows] @ self.stack[e] if stacked else self.experts[e](h[rows])
                out = out.index_add(0, rows, product)
            h = torch.tanh(out)
        return self.readout(h)


ready = nn.Linear(6, 3)
number = 3


def broken():
    raise ValueError("no luck")


def nothing():
    return None


def too_many():
    return nn.Linear(6, 8)


def frozen():
    return nn.Linear(6, 3).requires_grad_(False)


def without_layers():
    return nn.Sequential(nn.BatchNorm1d(6), nn.AdaptiveAvgPool1d(3))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write the user's module into the current folder; its name is new for each test."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def build(settings: FunctionModel, shape: DataShape, seed: int = 0) -> nn.Module:
    return ENTRY.build(settings, shape, torch.Generator().manual_seed(seed))


def test_the_name_finds_the_entry() -> None:
    assert entry_of(MODELS, "my_models.small:make") is ENTRY


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("plain", {}, VECTOR),
        ("fitted", {}, IMAGE),
        ("fitted", {"depth": 3}, VECTOR),
        ("tokens", {}, TOKENS),
        ("lazy", {}, VECTOR),
        ("ready", {}, VECTOR),
        ("Attention", {}, VECTOR),
    ],
)
def test_the_layers_promised_are_the_layers_measured(
    module: str, name: str, arguments: dict[str, Any], shape: DataShape
) -> None:
    settings = FunctionModel(name=f"{module}:{name}", arguments=arguments)
    promised = ENTRY.layers(settings, shape)
    draw = torch.Generator().manual_seed(1)
    inputs = (
        torch.randn(4, *shape.input_shape) if shape.vocabulary is None else torch.randint(7, (4, 5), generator=draw)
    )
    measured = measure_covariances(build(settings, shape), inputs).layers
    assert list(measured) == [layer.name for layer in promised]
    for layer in promised:
        assert measured[layer.name].own_weight.shape == (layer.fan_out, layer.fan_in)
        assert (measured[layer.name].depth_from_output == READOUT) == layer.readout


def test_the_function_is_told_of_the_data_and_of_the_arguments(module: str) -> None:
    settings = FunctionModel(name=f"{module}:fitted", arguments={"depth": 2, "note": "x"})
    assert ENTRY.layers(settings, IMAGE) == (
        LayerShape("1", 16, 16),
        LayerShape("2", 16, 16),
        LayerShape("3", 3, 16, readout=True),
    )
    assert sys.modules[module].SAID == [{"note": "x"}]  # only what it names, and once: the layers are remembered
    ENTRY.layers(settings, IMAGE)
    assert len(sys.modules[module].SAID) == 1


def test_steps_and_parts_are_counted(module: str) -> None:
    promised = {layer.name: layer for layer in ENTRY.layers(FunctionModel(name=f"{module}:Attention"), VECTOR)}
    assert promised["attention.q"] == LayerShape("attention.q", 6, 6, 5)
    assert promised["rnn.weight_hh_l0"].positions == 5
    assert promised["head"] == LayerShape("head", 3, 4, readout=True)


@pytest.mark.parametrize("unused", [False, True])
def test_experts_that_a_sample_of_zeros_does_not_reach_are_planned(module: str, unused: bool) -> None:
    settings = FunctionModel(name=f"{module}:Experts", arguments={"unused": unused})
    promised = ENTRY.layers(settings, VECTOR)
    experts = [*(f"stack[{e}]" for e in range(3)), *(f"experts.{e}" for e in range(3))]
    assert [layer.name for layer in promised] == ["first", *experts, "readout"]
    assert {layer.positions for layer in promised} == {1}
    measured = measure_covariances(build(settings, VECTOR), torch.randn(40, 6)).layers
    assert list(measured) == [layer.name for layer in promised]


def global_states() -> tuple[Any, ...]:
    """Return the states of the global random generators."""
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())  # noqa: NPY002


@pytest.mark.parametrize("name", ["plain", "random_of_all_kinds", "lazy"])
def test_all_draws_come_from_the_generator_and_leave_the_global_ones_alone(module: str, name: str) -> None:
    settings = FunctionModel(name=f"{module}:{name}")
    before = global_states()
    first = build(settings, VECTOR).state_dict()
    assert global_states() == before
    torch.manual_seed(2)
    random.seed(2)
    again, other = build(settings, VECTOR).state_dict(), build(settings, VECTOR, 1).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_a_ready_made_network_is_copied_for_each_run(module: str) -> None:
    settings = FunctionModel(name=f"{module}:ready")
    first, second = build(settings, VECTOR), build(settings, VECTOR)
    with torch.no_grad():
        first.get_parameter("weight").zero_()
    assert second.get_parameter("weight").abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("plian", {}, "did you mean 'plain'"),
        ("number", {}, "is a int; name a function"),
        ("broken", {}, "calling it without arguments raised ValueError: no luck"),
        ("plain", {"depth": 2}, "calling it with depth raised TypeError"),
        ("nothing", {}, "returns NoneType, not a torch.nn.Module"),
        ("ready", {"depth": 2}, "it is a network, not a function"),
        ("frozen", {}, "no parameter requires a gradient, so there is nothing to train"),
        ("without_layers", {}, "has no layer to measure"),
        ("too_many", {}, "gives outputs of 8 for a sample; the data have 3 target columns"),
    ],
)
def test_mistakes_are_one_line(module: str, name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ENTRY.layers(FunctionModel(name=f"{module}:{name}", arguments=arguments), VECTOR)
    assert "\n" not in str(caught.value)


def test_what_does_not_read_the_data_is_one_line(module: str) -> None:
    with pytest.raises(UserError, match=r"raised RuntimeError: .* on images of 1 x 4 x 4"):
        ENTRY.layers(FunctionModel(name=f"{module}:plain"), IMAGE)


def test_no_such_module_is_one_line() -> None:
    with pytest.raises(UserError, match="no such module"):
        ENTRY.layers(FunctionModel(name="no_such_module_anywhere:make"), VECTOR)
