"""Tensors that count as computed from the samples, and constants that have a row for each sample."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nfa import check
from nfa.alignment import measure_covariances
from nfa.alignment.network.interception import Interception
from nfa.alignment.network.operations import JOINT
from tests.alignment.architectures import ARCHITECTURES, SCALED_AND_COPIED, Architecture, Net, counted, draw

BATCHES = [1, 2, 3, 4, 5]  # the tables of constants have 4 rows: also as many as samples


def watched(write: Any) -> Interception:
    """Watch ``write(buffer, x)`` for a buffer of zeros (2, 3) and samples (2,)."""
    x = torch.ones(2)
    watch = Interception({}, x)
    with watch:
        watch.kept = write(torch.zeros(2, 3), x)  # type: ignore[attr-defined]
    return watch


def from_samples(watch: Interception, tensor: Tensor) -> bool:
    return tensor in watch._from_samples


def into_view(buffer: Tensor, x: Tensor) -> Tensor:
    buffer[:, 1] = x
    return buffer


def into_nested_view(buffer: Tensor, x: Tensor) -> Tensor:
    buffer.view(6)[2:4].view(2, 1).squeeze(1).copy_(x)
    return buffer


def into_out(buffer: Tensor, x: Tensor) -> Tensor:
    torch.exp(x, out=buffer[:, 0])
    return buffer


def into_list(buffer: Tensor, x: Tensor) -> Tensor:
    torch._foreach_copy_([buffer[:, 0]], [x])  # returns nothing
    return buffer


def by_index(buffer: Tensor, x: Tensor) -> Tensor:
    buffer[torch.tensor([0, 1]), torch.tensor([2, 0])] = x
    return buffer


def view_made_before(buffer: Tensor, x: Tensor) -> Tensor:
    other = buffer.T
    buffer[:, 1] += x
    return other


@pytest.mark.parametrize("write", [into_view, into_nested_view, into_out, into_list, by_index, view_made_before])
def test_all_views_of_written_memory_are_from_the_samples(write: Any) -> None:
    watch = watched(write)
    assert from_samples(watch, watch.kept)  # type: ignore[attr-defined]
    assert from_samples(watch, watch.kept[:1])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "make",
    [
        lambda buffer, x: buffer,
        lambda buffer, x: torch.zeros_like(x),
        lambda buffer, x: x.new_ones(4),
        lambda buffer, x: buffer.copy_(x.new_zeros(3)),
    ],
    ids=["untouched", "like", "new", "a constant written"],
)
def test_a_constant_is_not_from_the_samples(make: Any) -> None:
    watch = watched(make)
    assert not from_samples(watch, watch.kept)  # type: ignore[attr-defined]


def test_memory_that_is_used_again_is_not_taken_for_what_was_there() -> None:
    """Addresses of freed tensors are used again within a pass; they are not taken for the freed tensors."""
    x = torch.ones(1000)
    watch, addresses, again = Interception({}, x), set(), 0
    with watch:
        for _ in range(200):
            dependent = x + 1
            addresses.add(dependent.data_ptr())
            del dependent
            constant = torch.empty(1000)
            again += constant.data_ptr() in addresses
            assert not from_samples(watch, constant)
    assert again > 0  # else the test shows nothing


def test_sparse_tensors_come_from_the_samples_too() -> None:
    x = torch.eye(3)
    watch = Interception({}, x)
    with watch:
        dependent, constant = x.to_sparse(), torch.zeros(3, 3).to_sparse()
    assert from_samples(watch, dependent)
    assert not from_samples(watch, constant)


INDEPENDENT = [
    case
    for case in ARCHITECTURES
    if case.name
    in {
        "table of as many rows as samples",
        "matrix of as many rows as samples",
        "states written into a buffer",
        "states read from a buffer",
        "learned initial state",
        "learned initial state in columns",
        "one step",
        "cell, sample by sample",
        "W @ x, sample by sample",
        "rows of W, sample by sample",
        "x @ a",
        "x @ a of tokens",
        "x @ a and a @ x",
        "RNN, 1 layer",
        "LSTMCell",
    }
]


@pytest.mark.parametrize("case", INDEPENDENT, ids=lambda case: case.name)
def test_what_is_measured_does_not_depend_on_the_batch_size(case: Architecture) -> None:
    model = case.network()
    found = [measure_covariances(model, case.inputs(n)) for n in BATCHES]
    for one in found:
        assert one.left_out == case.left_out
        places = {name: (layer.depth_from_output, layer.chain_length) for name, layer in one.layers.items()}
        assert places == {n: (layer.depth_from_output, layer.chain_length) for n, layer in found[0].layers.items()}


@pytest.mark.parametrize("case", INDEPENDENT, ids=lambda case: case.name)
def test_the_independent_check_reads_the_same(case: Architecture) -> None:
    table = check(case.network(), case.inputs())
    assert table.passed.all(), table


@pytest.mark.parametrize("case", SCALED_AND_COPIED, ids=lambda case: case.name)
def test_the_independent_check_reads_scaled_and_copied_products(case: Architecture) -> None:
    table = check(case.network(), case.inputs())
    assert table.passed.all(), table
    assert not table.note.any()


@pytest.mark.parametrize("n", BATCHES)
def test_learned_queries_repeated_for_each_sample_are_measured(n: int) -> None:
    """Queries that are repeated first have a copy for each sample; queries that are multiplied first have not."""

    def attend(m: Any, x: Tensor, q: Tensor) -> Tensor:
        return m.readout(torch.softmax(q @ m.key(x).mT, -1) @ x)  # type: ignore[no-any-return]

    parts = {"queries": draw(4, 3), "query": nn.Linear(3, 3), "key": nn.Linear(3, 3), "readout": nn.Linear(3, 2)}
    after = Net(lambda m, x: attend(m, x, m.query(m.queries.expand(len(x), -1, -1))), **parts)
    before = Net(lambda m, x: attend(m, x, m.query(m.queries).expand(len(x), -1, -1)), **parts)
    x = torch.randn(n, 5, 3)
    assert list(measure_covariances(after, x).layers) == ["query", "key", "readout"]
    assert measure_covariances(after, x).left_out == {"queries": "copied into another memory layout before the product"}
    assert list(measure_covariances(before, x).layers) == ["key", "readout"]
    assert measure_covariances(before, x).left_out["query"] == JOINT
    assert check(after, x).passed.all()


@pytest.mark.parametrize("n", BATCHES)
def test_a_learned_state_multiplied_sample_by_sample(n: int) -> None:
    """Both operands are parameters, and either could be W: the matrix is W, in either order."""
    model = Net(
        lambda m, x: torch.stack([m.readout(torch.tanh(m.u @ m.state + m.w @ one)) for one in x]),
        u=draw(3, 3),
        w=draw(3, 2),
        state=draw(3),
        readout=nn.Linear(3, 2),
    )
    x = torch.randn(n, 2)
    measured = measure_covariances(model, x)
    assert {name: (layer.depth_from_output, layer.own_weight.shape) for name, layer in measured.layers.items()} == {
        "u": (1, (3, 3)),
        "w": (1, (3, 2)),
        "readout": (0, (2, 3)),
    }
    assert check(model, x).passed.all()


def test_a_weight_is_left_out_when_nothing_tells_whether_its_constant_has_a_row_for_each_sample() -> None:
    """The network runs on four samples only, so the layer is left out: K without the first step would be wrong."""

    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.tanh(m.hidden(torch.ones(4, 3)) + m.first(x))
        return m.readout(torch.tanh(m.hidden(h) + m.first(x)))  # type: ignore[no-any-return]

    model = Net(run, hidden=nn.Linear(3, 3), first=nn.Linear(2, 3), readout=nn.Linear(3, 2))
    found = measure_covariances(model, torch.randn(4, 2))
    assert {name: layer.depth_from_output for name, layer in found.layers.items()} == {"first": 2, "readout": 0}
    assert "another number of samples" in found.left_out["hidden"]


def test_a_table_and_samples_by_the_same_weight() -> None:
    """The product with the table has no gradient of each sample; the other product is measured."""
    model = Net(
        lambda m, x: m.readout(torch.tanh(m.shared(x) + m.shared(counted(x).expand(4, 3)).sum(0))),
        shared=nn.Linear(3, 3),
        readout=nn.Linear(3, 2),
    ).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    alone = Net(
        lambda m, x: m.readout(torch.tanh(m.shared(x) + m.shift)),
        shared=model.shared,
        readout=model.readout,
        shift=model.shared(counted(x).expand(4, 3)).sum(0).detach(),  # type: ignore[operator]
    )
    expected = measure_covariances(alone, x).layers["shared"].covariance
    assert torch.allclose(measure_covariances(model, x).layers["shared"].covariance, expected, rtol=1e-12)
