"""Uses of a weight that are not measured, and weights that are not measured at all, each with its true reason."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import nfa
from nfa.alignment import measure, measure_covariances
from nfa.alignment.network.operations import (
    BIAS,
    COMPLEX,
    ENTRYWISE,
    GATHERED,
    JOINED,
    JOINT,
    ROUNDED,
    SPARSE,
    STORED,
    UNTRAINED,
)
from nfa.alignment.network.recording import CONSTANT, DETACHED, NO_AUTOGRAD, OVERWRITTEN
from tests.alignment.architectures import Net, draw, softmax_attention
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.jacobians import reference_layers, tap

LEAVES_OUT = "K leaves out a use of the weight: "


def net(run: Callable[[Any, Tensor], Tensor], **parts: Any) -> Net:
    return Net(run, **{"readout": nn.Linear(4, 2), **parts}).double()


def samples(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def without_autograd(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        shift = m.lin(x)
    return m.readout(torch.tanh(m.lin(torch.tanh(x)) + shift))  # type: ignore[no-any-return]


def positions(m: Any, x: Tensor) -> Tensor:
    """A key projection shared by tokens and positions, as in DeBERTa."""
    score = m.lin(x) @ m.lin(m.table).T
    return m.readout(torch.tanh(score))  # type: ignore[no-any-return]


def cut_in_time(m: Any, x: Tensor) -> Tensor:
    """A recurrent network that is differentiated through its last step only."""
    state = torch.tanh(m.lin(x)).detach()
    return m.readout(torch.tanh(m.lin(x + state)))  # type: ignore[no-any-return]


def taken_as_data(m: Any, x: Tensor) -> Tensor:
    return m.readout(torch.tanh(m.lin(x + torch.tanh(m.lin(x)).data)))  # type: ignore[no-any-return]


IN_PART: dict[str, tuple[Net, str]] = {
    "a constant": (net(positions, lin=nn.Linear(4, 3), table=draw(4, 4)), CONSTANT),
    "no_grad": (net(without_autograd, lin=nn.Linear(4, 4)), NO_AUTOGRAD),
    "detached": (net(cut_in_time, lin=nn.Linear(4, 4)), DETACHED),
    "data": (net(taken_as_data, lin=nn.Linear(4, 4)), DETACHED),
    "entry by entry": (
        net(lambda m, x: m.readout(torch.tanh(m.lin(x) + functional.linear(x, m.lin.weight * 2))), lin=nn.Linear(4, 4)),
        ENTRYWISE,
    ),
    "norm": (
        net(lambda m, x: m.readout(torch.tanh(m.lin(x) / m.lin.weight.norm())), lin=nn.Linear(4, 4)),
        "used by linalg_vector_norm: not a matrix product that is measured",
    ),
}


@pytest.mark.parametrize("case", IN_PART)
def test_a_weight_that_is_measured_in_part_says_so(case: str) -> None:
    model, reason = IN_PART[case]
    x = samples(6, 4)
    tables = {"measure": measure(model, x), "check": nfa.check(model, x)}
    for what, table in tables.items():
        assert table[table.layer == "lin"].note.str.contains(LEAVES_OUT + reason, regex=False).all(), what
        assert not table[table.layer == "readout"].note.str.contains(LEAVES_OUT).any(), what


def unused(m: Any, x: Tensor) -> Tensor:
    return m.readout(torch.tanh((m.lin(torch.tanh(x)), m.lin(x))[1]))  # type: ignore[no-any-return]


def derived(m: Any, x: Tensor) -> Tensor:
    """Forces: the output is the gradient of an energy, in which the result of the readout has no part."""
    (forces,) = torch.autograd.grad(m.readout(torch.tanh(m.lin(x))).sum(), x, create_graph=True)
    return forces


@pytest.mark.parametrize("run", [unused, derived])
def test_a_product_whose_result_is_not_used_needs_no_note(run: Callable[[Any, Tensor], Tensor]) -> None:
    model = net(run, lin=nn.Linear(4, 4))
    assert not measure(model, samples(6, 4)).note.str.contains(LEAVES_OUT).any()


def test_a_use_of_one_part_of_a_parameter_says_nothing_of_the_others() -> None:
    model = net(
        lambda m, x: m.readout(torch.tanh(x @ m.w[0] + torch.tanh(x @ m.w[1]) * m.w[1].sum())),
        w=draw(2, 3, 4),
    )
    table = measure(model, samples(6, 3))
    notes = {name: rows.note.str.contains(LEAVES_OUT).all() for name, rows in table.groupby("layer")}
    assert notes == {"w[0]": False, "w[1]": True, "readout": False}


def attention(split: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], *, written: bool) -> Net:
    """Make attention over one product, with two heads of four columns."""

    def run(m: Any, x: Tensor) -> Tensor:
        q, k, v = split(m.qkv(x))
        attend = softmax_attention if written else functional.scaled_dot_product_attention
        h = attend(q, k, v)
        return m.readout(h.transpose(1, 2).flatten(2)).mean(1)  # type: ignore[no-any-return]

    return net(run, qkv=nn.Linear(4, 24), readout=nn.Linear(8, 2))


def rotated(h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split head by head, and flip half of the columns of query and key, as the rotations in GPT-NeoX do."""
    q, k, v = h.unflatten(-1, (2, 12)).transpose(1, 2).chunk(3, -1)
    q, k = (torch.cat([part[..., :2].flip(-1), part[..., 2:]], -1) for part in (q, k))
    return q, k, v


def plain(h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split into three column blocks, which are measured as three layers."""
    q, k, v = h.unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


@pytest.mark.parametrize("written", [False, True])
def test_the_table_says_whether_query_key_and_value_are_one_matrix(written: bool) -> None:
    x = samples(5, 3, 4)
    one = measure(attention(rotated, written=written), x)
    assert one[one.layer == "qkv"].note.str.contains("query, key and value are measured as one matrix").all()
    apart = measure(attention(plain, written=written), x)
    assert {"qkv.q", "qkv.k", "qkv.v"} < set(apart.layer)
    assert not apart.note.str.contains("one matrix").any()


def test_key_and_value_of_one_matrix() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        k, v = m.kv(x).chunk(2, -1)
        return m.readout(functional.scaled_dot_product_attention(m.query(x), k, v)).mean(1)  # type: ignore[no-any-return]

    table = measure(net(run, query=nn.Linear(4, 4), kv=nn.Linear(4, 8)), samples(5, 3, 4))
    assert table[table.layer == "kv"].note.str.contains("key and value are measured as one matrix").all()
    assert not table[table.layer == "query"].note.str.contains("one matrix").any()


class Storing(nn.Linear):
    """Computes its matrix in the first pass only."""

    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        """Take the function that makes the matrix of the weight."""
        super().__init__(4, 4)
        self.make = make
        self.cache: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 4)."""
        if self.cache is None:
            self.cache = self.make(self.weight)
        return functional.linear(x, self.cache, self.bias)


STORE: dict[str, Callable[[Tensor], Tensor]] = {
    "masked": lambda w: w * torch.ones_like(w).triu(),
    "copied": lambda w: w.clone(),
    "detached": lambda w: w.detach().clone(),
    "another layout": lambda w: w.T.contiguous().T,
}


@pytest.mark.parametrize("how", STORE)
def test_a_weight_that_the_first_pass_stores(how: str) -> None:
    model = nn.Sequential(Storing(STORE[how]), nn.Tanh(), nn.Linear(4, 2)).double()
    for batch_size in (None, 2):
        measured = measure_covariances(model, samples(50, 4), batch_size=batch_size)
        assert list(measured.layers) == ["2"]
        assert measured.left_out == {"0": STORED}
    assert nfa.left_out(model, samples(50, 4)) == {"0": STORED}
    assert model[0].cache is None
    reason = STORED if how in ("copied", "detached") else ""  # in the other cases the first pass gives another reason
    with pytest.raises(ValueError, match=f"^layer '0' is not measured: {reason}"):
        measure_covariances(model, samples(50, 4), layers=["0"])


def test_a_matrix_that_is_the_product_of_two_weights() -> None:
    model = net(lambda m, x: m.readout(torch.tanh(x @ (m.a @ m.b).T)), a=draw(4, 2), b=draw(2, 3))
    measured = measure_covariances(model, samples(7, 3))
    assert list(measured.layers) == ["readout"]
    assert measured.left_out == {"a": JOINT, "b": JOINT}
    apart = net(lambda m, x: m.readout(torch.tanh((x @ m.b.T) @ m.a.T)), a=model.a, b=model.b)
    assert list(measure_covariances(apart, samples(7, 3)).layers) == ["b", "a", "readout"]


SAID: dict[str, tuple[Callable[[Any, Tensor], Tensor], Any, str]] = {
    "bias": (lambda m, x: torch.addmm(m.w, x, m.lin.weight.T), lambda: draw(1, 4), BIAS),
    "joined": (lambda m, x: m.lin(torch.cat([x, m.w.expand(len(x), 1)], 1)), lambda: draw(1, 1), JOINED),
    "stacked": (lambda m, x: torch.stack([m.lin(x), m.w.expand(len(x), 4)], 1).sum(1), lambda: draw(1, 4), JOINED),
    "indices": (lambda m, x: torch.einsum("ni,nij->nj", x, m.w[x.argmax(1)]), lambda: draw(4, 4, 4), GATHERED),
    "two weights": (lambda m, x: torch.tanh(x @ m.w.T @ m.lin.weight.T), lambda: draw(4, 4), ""),
    "their product": (lambda m, x: torch.tanh(x @ (m.lin.weight @ m.w).T), lambda: draw(4, 4), JOINT),
    "of a table": (lambda m, x: m.lin(m.w) + x, lambda: draw(1, 4), JOINT),
}


@pytest.mark.parametrize("case", SAID)
def test_the_reason_says_which_use_it_is(case: str) -> None:
    run, make, reason = SAID[case]
    wide = 5 if case == "joined" else 4
    model = net(lambda m, x: m.readout(torch.tanh(run(m, x))), lin=nn.Linear(wide, 4), w=make())
    assert measure_covariances(model, samples(6, 4)).left_out.get("w", "") == reason


@pytest.mark.parametrize("registered", [True, False])
def test_an_untrained_matrix_that_multiplies_the_samples_is_named(registered: bool) -> None:
    """Random features: the matrix is a buffer, or a plain attribute of a module."""
    inner = net(lambda m, x: m.readout(torch.cos(x @ m.frequencies)))
    if registered:
        inner.register_buffer("frequencies", samples(3, 4))
    else:
        inner.frequencies = samples(3, 4)
    for model, prefix in ((inner, ""), (nn.Sequential(inner), "0.")):
        measured = measure_covariances(model, samples(7, 3))
        assert list(measured.layers) == [f"{prefix}readout"]
        assert measured.left_out == {f"{prefix}frequencies": UNTRAINED}
        assert measured.layers[f"{prefix}readout"].chain_length == 2


def test_a_weight_that_is_rounded_to_integers_is_not_the_matrix() -> None:
    model = net(lambda m, x: m.readout(torch.tanh(x @ (m.w * 0 + m.w).detach().to(torch.int8).double())), w=draw(3, 4))
    assert "w" in measure_covariances(model, samples(7, 3)).left_out
    direct = net(lambda m, x: m.readout(torch.tanh(x @ m.w.to(torch.int8).to(x.dtype))), w=draw(3, 4))
    measured = measure_covariances(direct, samples(7, 3))
    assert measured.left_out == {"w": ROUNDED}


def test_complex_numbers_are_measured_around() -> None:
    """A filter over frequencies between two layers, and a product of complex numbers."""

    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.fft.irfft(
            torch.fft.rfft(tap("lin", functional.linear(x, m.lin.weight), m.lin.weight)) * m.filter, n=4
        )
        mixed = torch.view_as_real(torch.fft.rfft(h) @ m.mix).flatten(1) @ torch.ones(4, 4).double()
        return m.readout(torch.tanh(h + mixed))  # type: ignore[no-any-return]

    model = net(
        run,
        lin=nn.Linear(4, 4),
        filter=nn.Parameter(torch.randn(1, 3, dtype=torch.cdouble)),
        mix=nn.Parameter(torch.randn(3, 2, dtype=torch.cdouble)),
    )
    x = samples(5, 4)
    measured = measure_covariances(model, x)
    expected = reference_layers(model, x)
    assert list(measured.layers) == ["lin", "readout"]
    assert measured.left_out == {"filter": COMPLEX, "mix": COMPLEX}
    for name, layer in measured.layers.items():
        assert_matrix_close(layer.covariance, expected[name].covariance, 1e-10, name)


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_a_graph_with_a_sparse_adjacency(layout: str) -> None:
    """One graph for all samples, which are features of its nodes."""
    dense = (torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) < 0.5).double()

    def run(m: Any, x: Tensor) -> Tensor:
        h = [torch.relu(torch.sparse.mm(m.adjacency, m.lin(graph))) for graph in x]
        return m.readout(torch.stack(h)).mean(1)  # type: ignore[no-any-return]

    model = net(run, lin=nn.Linear(3, 4))
    model.register_buffer("adjacency", dense.to_sparse() if layout == "coo" else dense.to_sparse_csr())
    x = samples(4, 5, 3)
    measured = measure_covariances(model, x)
    expected = reference_layers(model, x)
    assert list(measured.layers) == ["lin", "readout"]
    for name, layer in measured.layers.items():
        assert_matrix_close(layer.covariance, expected[name].covariance, 1e-10, name)


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_a_sparse_weight_is_left_out(layout: str) -> None:
    eye = torch.eye(4, dtype=torch.float64)
    model = net(lambda m, x: m.readout(m.lin((m.w @ x.T).T)), lin=nn.Linear(4, 4))
    model.w = nn.Parameter(eye.to_sparse() if layout == "coo" else eye.to_sparse_csr())
    measured = measure_covariances(model, samples(5, 4))
    assert list(measured.layers) == ["lin", "readout"]
    assert measured.left_out == {"w": SPARSE}


def test_a_state_that_is_overwritten_is_refused_in_one_sentence() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        state = torch.exp(m.lin(x))
        gate = torch.exp(m.lin(state))
        state.mul_(gate)
        return m.readout(state.add_(1))  # type: ignore[no-any-return]

    model = net(run, lin=nn.Linear(4, 4))
    model.get_parameter("lin.weight").requires_grad_(False)
    with pytest.raises(ValueError, match=r"^the network changes in place a tensor") as error:
        measure_covariances(model, samples(5, 4))
    assert str(error.value) == OVERWRITTEN
    assert not model.get_parameter("lin.weight").requires_grad


def test_an_exported_program_is_refused_in_one_sentence() -> None:
    x = torch.randn(5, 4)
    program = torch.export.export(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), (x,)).module()
    with pytest.raises(ValueError, match=r"^the network is a program made by torch\.export"):
        measure_covariances(program, x)
