"""A measurement leaves network, inputs and random state as they were, also when it fails."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nfa.alignment import covariances, frame, measure, weight_gradients
from tests.alignment.networks import layers_of, squared_error


class Restless(nn.Module):
    """Changes all it can in a forward pass: buffers (in place and by replacement), random state, its input."""

    count: Tensor
    latest: Tensor

    def __init__(self, fail: bool = False) -> None:
        """Make the layers; ``fail`` makes a forward pass raise."""
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.readout = nn.Linear(6, 2)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("latest", torch.zeros(4))
        self.fail = fail

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 2)."""
        self.count += 1
        self.latest = x.detach().mean(0)
        x += 1
        h = functional.dropout(self.body(x), 0.1, training=True)
        if self.fail:
            raise RuntimeError("failed on purpose")
        return self.readout(h)  # type: ignore[no-any-return]


def state(model: nn.Module) -> list[Any]:
    """All that must be as before; tensors by identity and by value."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        [(name, id(p), p.tolist(), p.requires_grad, None if p.grad is None else p.grad.tolist()) for name, p in named]
        for named in (model.named_parameters(), model.named_buffers())
    ] + [
        [(name, module.training, [list(getattr(module, hook)) for hook in hooks], list(module.__dict__))]
        for name, module in model.named_modules()
    ]


def prepared(fail: bool = False) -> Restless:
    """A network with a gradient, a frozen parameter, a part in eval mode and a user's hook."""
    model = Restless(fail)
    model.body[1].eval()
    model.get_parameter("body.0.bias").requires_grad_(False)
    model.get_parameter("readout.weight").grad = torch.ones(2, 6)
    model.readout.register_forward_hook(lambda *_: None)
    return model


MEASUREMENTS: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "covariances": lambda model, inputs: covariances(model, inputs, batch_size=4),
    "measure": lambda model, inputs: measure(model, inputs, initial=model),
    "gradients": lambda model, inputs: weight_gradients(model, inputs, torch.zeros(len(inputs), 2), squared_error),
}


@pytest.mark.parametrize("fail", [False, True], ids=["success", "failure"])
@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_leaves_no_trace(measurement: str, fail: bool) -> None:
    model, inputs = prepared(fail), torch.randn(9, 4)
    copied, before, random = inputs.clone(), state(model), torch.get_rng_state()
    if fail:
        with pytest.raises(RuntimeError, match="failed on purpose"):
            MEASUREMENTS[measurement](model, inputs)
    else:
        MEASUREMENTS[measurement](model, inputs)
    assert state(model) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(inputs, copied)
    assert not inputs.requires_grad
    assert torch.is_grad_enabled()


def test_works_where_autograd_is_off() -> None:
    model, inputs = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)
    expected = covariances(model, inputs)["0"]
    with torch.no_grad():
        assert torch.equal(covariances(model, inputs)["0"], expected)
        assert not torch.is_grad_enabled()


def test_what_is_returned_is_a_copy() -> None:
    model, inputs = nn.Linear(3, 2), torch.randn(5, 3)
    weight = layers_of(model, inputs)[""].weight
    with torch.no_grad():
        model.weight.zero_()
    assert weight.abs().sum() > 0


def test_given_tensors_are_not_changed() -> None:
    model, inputs = nn.Linear(3, 2).double(), torch.randn(5, 3).double()
    given = {name: {"": torch.randn(2, 3).double()} for name in ("gradients", "updates")}
    copies = {name: {"": tensors[""].clone()} for name, tensors in given.items()}
    initial = {name: value.clone() + 1 for name, value in model.state_dict().items()}
    initial_copy = {name: value.clone() for name, value in initial.items()}
    measure(model, inputs, initial=initial, updates=given["updates"])
    frame(layers_of(model, inputs), weight_decay=0.1, **given)  # type: ignore[arg-type]
    for name, tensors in copies.items():
        assert torch.equal(given[name][""], tensors[""])
    for name, value in initial_copy.items():
        assert torch.equal(initial[name], value)
