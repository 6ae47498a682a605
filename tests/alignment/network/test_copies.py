"""Deep copies of networks, and the network before training (``initial=``)."""

import threading
import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import Monitor, check, measure
from nfa.alignment.network.copies import deep_copy


class Storing(nn.Module):
    """Keeps tensors of its last pass, and a list that contains itself."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.states: list[Any] = []
        self.states.append(self.states)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        self.hidden = torch.tanh(self.first(x))
        self.states.append({"h": (self.hidden, self.hidden.sum())})
        return self.second(self.hidden)  # type: ignore[no-any-return]


def weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))


INPUTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
NETWORKS: dict[str, Callable[[], nn.Module]] = {"storing": Storing, "weight norm": weight_norm}


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_that_keep_computed_tensors_are_copied(kind: str) -> None:
    model = NETWORKS[kind]()
    expected = model(INPUTS)
    copied = deep_copy(model)
    assert torch.equal(copied(INPUTS), expected)
    own = {p.data_ptr() for p in model.parameters()}
    assert not any(p.data_ptr() in own for p in copied.parameters())
    assert all(p.requires_grad for p in copied.parameters())
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert torch.equal(model(INPUTS), expected)


def test_a_computed_tensor_that_is_kept_twice_is_one_in_the_copy() -> None:
    model = Storing()
    model(INPUTS)
    copied = deep_copy(model)
    assert isinstance(copied, Storing)
    assert copied.hidden is copied.states[1]["h"][0]
    assert copied.hidden is not model.hidden
    assert copied.hidden.grad_fn is None
    assert torch.equal(copied.hidden, model.hidden)
    assert model.hidden.grad_fn is not None
    assert copied.states[0] is copied.states


@pytest.mark.parametrize("kind", NETWORKS)
def test_they_are_measured_and_checked(kind: str) -> None:
    model = NETWORKS[kind]()
    model(INPUTS)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    tables = [measure(model, INPUTS, initial=initial) for initial in (model, state)]
    assert (tables[0].value.isna() == tables[1].value.isna()).all()
    assert check(model, INPUTS).passed.all()


def test_what_cannot_be_copied_is_one_line() -> None:
    model = nn.Linear(3, 2)
    vars(model)["lock"] = threading.Lock()
    with pytest.raises(ValueError, match=r"^Linear cannot be copied, which is needed here: TypeError: .*lock.*$"):
        deep_copy(model)


SPECIAL: dict[str, Callable[[], Tensor]] = {
    "sparse": lambda: nn.Parameter(torch.eye(3).to_sparse()),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "compressed parameter": lambda: nn.Parameter(torch.eye(3).to_sparse_csr()),
}


class Graph(nn.Module):
    """Passes features of nodes on to their neighbours."""

    graph: Tensor

    def __init__(self, graph: Tensor) -> None:
        """Make the layer."""
        super().__init__()
        self.first = nn.Linear(3, 2)
        if isinstance(graph, nn.Parameter):
            self.graph = graph
        else:
            self.register_buffer("graph", graph)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        return self.first((self.graph @ x.T).T)  # type: ignore[no-any-return]


def from_itself(model: nn.Module, x: Tensor) -> pd.DataFrame:
    return measure(model, x, initial=model)


def monitored(model: nn.Module, x: Tensor) -> pd.DataFrame:
    monitor = Monitor(model, x)
    monitor(0)
    return monitor.frame


@pytest.mark.parametrize("call", [check, monitored, from_itself])
@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.filterwarnings("ignore:.*Sparse CSR:UserWarning")
def test_sparse_tensors_are_copied(kind: str, call: Callable[[nn.Module, Tensor], pd.DataFrame]) -> None:
    table = call(Graph(SPECIAL[kind]()), INPUTS)
    assert set(table.layer) == {"first"}
    if call is check:
        assert table.passed.all()


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
def test_nested_tensors_are_copied_and_not_loaded() -> None:
    model = nn.Linear(3, 2)
    model.register_buffer("graph", torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))
    assert check(model, INPUTS).passed.all()
    for call in (monitored, from_itself):
        with pytest.raises(ValueError, match=r"^initial: 'graph' is a nested tensor, which torch does not load; make"):
            call(model, INPUTS)


class Extra(nn.Linear):
    """Has state that is no tensor."""

    def __init__(self) -> None:
        """Make the layer."""
        super().__init__(3, 2)
        self.extra = {"steps": 3}

    def get_extra_state(self) -> Any:
        """Return the state."""
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        """Set the state."""
        self.extra = dict(state)


def test_initial_may_hold_state_that_is_no_tensor() -> None:
    model, initial = Extra(), Extra()
    whole = measure(model, INPUTS, initial=initial)
    tensors = {name: value for name, value in initial.state_dict().items() if isinstance(value, Tensor)}
    for given in (initial.state_dict(), tensors):
        assert measure(model, INPUTS, initial=given).equals(whole)
    assert model.extra == {"steps": 3}


INITIAL: dict[str, tuple[nn.Module, Any, str]] = {
    "no tensor": (nn.Linear(3, 2), {"weight": [1.0], "bias": torch.zeros(2)}, "initial: 'weight' is a list, not a te"),
    "state": (Extra(), Extra().state_dict() | {"_extra_state": 3}, "initial: cannot be loaded: 'int' object is not it"),
    "lazy": (nn.Linear(3, 2), nn.LazyLinear(2), "initial: 'weight' is not initialised: run that network once on a ba"),
    "lazy model": (
        nn.Sequential(nn.Linear(3, 2), nn.LazyLinear(2)),
        nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)),
        "initial: the model's '1.weight' is not initialised: run the network once on a batch first",
    ),
    "NaN": (
        nn.Linear(3, 2),
        {"weight": torch.full((2, 3), float("nan")), "bias": torch.zeros(2)},
        "initial: 'weight' holds NaN or infinity: nothing can be measured",
    ),
    "a checkpoint": (
        nn.Linear(3, 2),
        {"epoch": 3, "state_dict": nn.Linear(3, 2).state_dict()},
        r"initial: a checkpoint of 'epoch', 'state_dict': pass the state dict in it, initial=checkpoint\['state_di",
    ),
    "complex": (
        nn.Linear(3, 2),
        nn.Linear(3, 2, dtype=torch.complex64),
        "initial: 'weight' is complex64, the model's float32: only numbers of the same kind are loaded",
    ),
    "whole numbers": (
        nn.Linear(3, 2),
        {"weight": torch.ones(2, 3, dtype=torch.int64), "bias": torch.zeros(2)},
        "initial: 'weight' is int64, the model's float32: only numbers of the same kind are loaded",
    ),
}


def test_initial_may_be_in_another_floating_point_type_and_lack_a_counter() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = {name: value.double() for name, value in model.state_dict().items()}  # the counter, too
    assert measure(model, INPUTS, initial=state).equals(measure(model, INPUTS, initial=model))


@pytest.mark.parametrize("case", INITIAL)
def test_initial_that_does_not_fit_is_one_line(case: str) -> None:
    model, initial, message = INITIAL[case]
    with pytest.raises(ValueError, match=message) as caught:
        measure(model, INPUTS, initial=initial)
    assert "\n" not in str(caught.value)
