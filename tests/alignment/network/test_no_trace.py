"""A measurement leaves network, inputs and random state as they were, also when it fails."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nfa.alignment import check, covariances, frame, measure, weight_gradients
from nfa.alignment.network.measuring_mode import measuring_mode
from nfa.alignment.network.snapshot import Snapshot
from tests.alignment.networks import layers_of, squared_error


class Restless(nn.Module):
    """Changes everything that a forward pass can: buffers (in place and by replacement), random state, its input."""

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
    """Collect all that must stay; tensors by identity and by value."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        [(name, id(p), p.tolist(), p.requires_grad, None if p.grad is None else p.grad.tolist()) for name, p in named]
        for named in (model.named_parameters(), model.named_buffers())
    ] + [
        [(name, module.training, [list(getattr(module, hook)) for hook in hooks], list(module.__dict__))]
        for name, module in model.named_modules()
    ]


def prepared(fail: bool = False) -> Restless:
    """Make a network with a gradient, a frozen parameter, a part in eval mode and a user's hook."""
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


class Storing(nn.Module):
    """Keeps computed tensors: in old and new attributes, in lists and dicts, in plain tensors, in a buffer."""

    cache: Tensor

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.count, self.hidden, self.history = 0, torch.zeros(1), [torch.ones(2)]
        self.states: dict[str, Any] = {"deep": [()]}
        self.plain = torch.zeros(4)
        self.register_buffer("cache", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        h = torch.tanh(self.first(x))
        self.count += 1
        self.hidden, self.latest = h, h
        self.history.append(h)
        self.history[0] = h
        self.states["h"] = h
        self.states["deep"].append((h,))
        self.plain = self.plain.detach()
        for kept in (self.plain, self.cache.detach_()):
            kept[:] = h[0]
        return self.second(h)  # type: ignore[no-any-return]


@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_what_a_forward_pass_stores_is_let_go(measurement: str) -> None:
    model, inputs = Storing(), torch.randn(9, 3)
    objects = {name: id(value) for name, value in vars(model).items()}
    graphs: list[weakref.ref[Any]] = []

    def hold(_module: nn.Module, _given: tuple[Tensor, ...], h: Tensor) -> None:
        def live(gradient: Tensor) -> Tensor:
            return gradient

        h.register_hook(live)  # the hook lives as long as the graph, whose nodes allow no weak references
        graphs.append(weakref.ref(live))

    model.first.register_forward_hook(hold)
    MEASUREMENTS[measurement](model, inputs)
    assert {name: id(value) for name, value in vars(model).items()} == objects
    assert model.count == 0
    assert [value.tolist() for value in model.history] == [[1, 1]]
    assert model.states == {"deep": [()]}
    for tensor in (model.plain, model.cache):
        assert tensor.tolist() == [0, 0, 0, 0]
        assert tensor.grad_fn is None
    gc.collect()
    assert graphs
    assert not any(graph() for graph in graphs)


def clamped(model: nn.Linear) -> None:
    model.weight.data.clamp_(-0.1, 0.1)


def scaled(model: nn.Linear) -> None:
    with torch.no_grad():
        model.weight.mul_(0.9)


def replaced(model: nn.Linear) -> None:
    model.weight.data = functional.normalize(model.weight.data)


@pytest.mark.parametrize("fail", [False, True], ids=["success", "failure"])
@pytest.mark.parametrize(("change", "passes"), [(clamped, {10}), (scaled, {9}), (replaced, {10, 11, 12})])
def test_weights_that_a_forward_pass_changes_are_put_back(
    change: Callable[[nn.Linear], None], passes: set[int], fail: bool
) -> None:
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(3, 4), nn.Linear(5 if fail else 4, 2)), torch.randn(9, 3)
    weight = model.get_parameter("0.weight")
    before, memory = weight.detach().clone(), weight.data_ptr()
    changed: list[bool] = []

    def hook(module: Any, _given: tuple[Tensor, ...]) -> None:
        change(module)
        changed.append(not torch.equal(weight, before))

    model[0].register_forward_pre_hook(hook)
    if fail:
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            covariances(model, inputs, batch_size=4)
    else:
        covariances(model, inputs, batch_size=4)
    assert all(changed)
    # Passes: the first trial, the same samples in other places and numbers, the trial of rounding, three batches. A
    # network that fails is tried on the first batch, too. Rounding of the norm decides how often ``replaced`` is
    # compared.
    assert len(changed) in ({2} if fail else passes)
    assert model.get_parameter("0.weight") is weight
    assert weight.data_ptr() == memory
    assert torch.equal(weight, before)


MAX_NORM: dict[str, Callable[[], nn.Module]] = {
    "embedding": lambda: nn.Sequential(nn.Embedding(50, 4, max_norm=0.5), nn.Flatten(), nn.Linear(8, 2)),
    "bag": lambda: nn.Sequential(nn.EmbeddingBag(50, 4, max_norm=0.5), nn.Linear(4, 2)),
}


@pytest.mark.parametrize("measurement", [covariances, check])
@pytest.mark.parametrize("kind", MAX_NORM)
def test_an_embedding_with_max_norm_keeps_its_rows(kind: str, measurement: Callable[..., object]) -> None:
    """An embedding with ``max_norm`` scales looked-up rows in place, in later batches other rows than in the first."""
    model, tokens = MAX_NORM[kind](), torch.arange(50).reshape(25, 2)
    with torch.no_grad():
        model.get_parameter("0.weight")[:2] *= 0.01  # so the first batch scales no row
    before = model.get_parameter("0.weight").detach().clone()
    measurement(model, tokens, **({"batch_size": 1} if measurement is covariances else {}))
    assert torch.equal(model.get_parameter("0.weight"), before)


def test_only_what_the_first_pass_changes_stays_copied() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].register_forward_pre_hook(lambda module, _given: clamped(module))
    snapshot = Snapshot(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(value.copy is not None for value in snapshot._parameters)
    model(torch.randn(2, 3))
    assert {names[id(v.tensor)] for v in snapshot._parameters if v.copy is not None} == {"1.weight"}
    snapshot.restore()
    assert not model._forward_hooks


def test_the_copies_do_not_show_in_what_is_measured() -> None:
    """Copies and comparisons of weights are not taken for uses of the weights by the watched pass."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model.register_parameter("idle", nn.Parameter(torch.zeros(2, 2)))
    assert measure(model, torch.randn(5, 3)).attrs["left_out"] == {"idle": "not used in the forward pass"}


def test_a_graph_of_the_caller_s_survives() -> None:
    """Unchanged tensors are not written to, so tensors that autograd saved for a pending backward stay valid."""
    model, inputs = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval(), torch.randn(5, 3)
    loss = model(inputs).square().sum()
    measure(model, inputs, initial=model)
    loss.backward()
    assert model.get_parameter("0.weight").grad is not None


def test_a_lazy_layer_stays_whole() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    with measuring_mode(model):
        model(torch.randn(2, 3))
    assert model(torch.randn(2, 3)).shape == (2, 2)


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


class Holding(nn.Module):
    """Holds tensors of every kind, in training mode, with a frozen weight; writes to those that are sparse."""

    def __init__(self, kind: str, fail: bool) -> None:
        """Make the tensors."""
        super().__init__()
        self.first, self.readout = nn.Linear(3, 4).requires_grad_(False), nn.Linear(4, 2)
        self.held, self.fail = KINDS[kind](), fail

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        if self.held.layout == torch.sparse_coo:
            self.held._values().mul_(2)
        if self.fail:
            raise RuntimeError("failed on purpose")
        return self.readout(torch.tanh(self.first(x)))  # type: ignore[no-any-return]


def inference_tensor() -> Tensor:
    with torch.inference_mode():
        return torch.ones(3)


KINDS: dict[str, Callable[[], Tensor]] = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "complex": lambda: torch.ones(3, dtype=torch.cfloat),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "jagged": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "meta": lambda: torch.ones(3, device="meta"),
    "inference": inference_tensor,
    "not a number": lambda: torch.tensor([1.0, float("nan")]),
}


@pytest.mark.parametrize("fail", [False, True], ids=["success", "failure"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_holds_other_tensors_is_put_back(kind: str, fail: bool) -> None:
    model, x = Holding(kind, fail), torch.randn(5, 3)
    random = torch.get_rng_state()
    if fail:
        with pytest.raises(RuntimeError, match="failed on purpose"):
            covariances(model, x)
    else:
        assert list(covariances(model, x)) == ["first", "readout"]
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    assert model.training
    assert not model._forward_hooks
    assert torch.equal(torch.get_rng_state(), random)
    if kind == "sparse":
        assert torch.equal(model.held.to_dense(), torch.eye(3))


def test_what_can_not_be_put_back_does_not_keep_the_rest_from_it() -> None:
    class Stubborn(list[int]):
        """A list without ``clear``."""

        def clear(self) -> None:
            raise RuntimeError("never")

    model = Holding("complex", False)
    log = Stubborn()
    model.log = log  # type: ignore[assignment]
    model.first.register_forward_hook(lambda *_: log.append(1))
    with pytest.raises(
        ValueError,
        match=r"^the network could not be put back as it was: RuntimeError: never \(.*test_no_trace.py:\d+\)$",
    ):
        covariances(model, torch.randn(5, 3))
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    assert model.training
    assert not model._forward_hooks
