"""Mixtures of experts: a layer is identified by its place in a parameter, whichever samples come first."""

from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import nfa
from nfa.alignment import frame, measure, measure_covariances, weight_gradients
from nfa.alignment.measure import NO_START, OTHER_START
from nfa.alignment.network.operations import GATHERED
from nfa.alignment.network.survey import NOT_HERE, UNROUTED
from tests.alignment.architectures import Net, draw
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.jacobians import reference_layers, tap
from tests.alignment.networks import squared_error


class Experts(nn.Module):
    """A gate sends each sample to one of several experts that lie in one parameter."""

    def __init__(self, experts: int = 8, readout: bool = True) -> None:
        """Make the weights; without a readout the experts give the output."""
        super().__init__()
        self.gate, self.w = nn.Linear(6, experts, bias=False), draw(experts, 6, 3)
        self.readout = nn.Linear(3, 2) if readout else None

    def route(self, x: Tensor) -> Tensor:
        """Choose the expert of each sample."""
        return self.gate(x).argmax(-1)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6) -> (n, 2)."""
        shares, chosen = self.gate(x).softmax(-1), self.route(x)
        out = x.new_zeros(len(x), 3)
        for e in chosen.unique().tolist():
            rows = (chosen == e).nonzero().flatten()
            h = tap(f"w[{e}]", x[rows] @ self.w[e], self.w[e].T)
            out = out.index_add(0, rows, h * (shares[rows, e : e + 1] if self.readout is not None else 1))
        return out if self.readout is None else self.readout(torch.tanh(out))


def experts(seed: int = 0, **options: Any) -> Experts:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Experts(**options).double()


def inputs(n: int = 90, seed: int = 1, d: int = 6) -> Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def late(model: Experts, x: Tensor) -> Tensor:
    """Samples sorted by expert, so that some experts are first used after the first 32 samples, in later batches."""
    return x[model.route(x).argsort()]


@pytest.mark.parametrize("batch_size", [None, 1, 40])
def test_each_expert_has_its_own_weights_and_its_own_covariance(batch_size: int | None) -> None:
    model = experts()
    x = late(model, inputs())
    measured = measure_covariances(model, x, batch_size=batch_size)
    expected = reference_layers(model, x)
    used = sorted(model.route(x).unique().tolist())
    assert list(measured.layers) == ["gate", *(f"w[{e}]" for e in used), "readout"]
    assert set(model.route(x[:32]).tolist()) < set(used)
    for name, layer in measured.layers.items():
        assert_matrix_close(layer.weight, expected[name].weight, 0.0, f"W of {name}")
        assert_matrix_close(layer.covariance, expected[name].covariance, 1e-10, f"K of {name}")


@pytest.mark.parametrize("options", [{}, {"estimator": "sketched", "probes": 2}, {"samples": 60}], ids=str)
def test_nothing_depends_on_the_batch_size(options: dict[str, Any]) -> None:
    model = experts()
    x = late(model, inputs())
    whole = measure(model, x, initial=experts(2), **options)
    for size in (
        (1, 25) if "samples" not in options else (25,)
    ):  # with samples drawn, error bars are made of blocks of two samples
        cut = measure(model, x, initial=experts(2), batch_size=size, **options)
        columns = [c for c in whole.columns if c not in ("value", "stderr", "note")]
        pd.testing.assert_frame_equal(cut[columns], whole[columns])
        power = whole.quantity.isin(["uc_nfc", "c_nfc", "dc_nfc", "w0_nfc"]) & (whole.power == "1")
        pd.testing.assert_series_equal(cut.value[power], whole.value[power], rtol=1e-6, atol=1e-7)
        assert cut.attrs == whole.attrs


def test_what_no_sample_uses_is_left_out_with_that_reason() -> None:
    model = experts()
    x = inputs(12)
    unused = sorted(set(range(8)) - set(model.route(x).tolist()))
    assert unused
    expected = {f"w[{e}]": UNROUTED for e in unused}
    assert measure_covariances(model, x).left_out == expected
    assert nfa.left_out(model, x) == expected
    apart = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    switch = Net(lambda m, x: m.readout(m.parts[int(x[0, 0] > 0)](x)), parts=apart, readout=nn.Linear(2, 1))
    positive = torch.ones(3, 2)
    assert nfa.left_out(switch, positive) == {"parts.0": "not used in the forward pass"}
    assert nfa.left_out(switch, [positive, -positive]) == {}


@pytest.mark.parametrize("estimator", ["exact", "sketched"])
def test_an_expert_that_is_the_output_of_some_samples(estimator: str) -> None:
    """K has a closed form only if the layer is the output for all samples."""
    model, x = experts(readout=False), inputs(40)
    found = measure_covariances(model, x, batch_size=1, estimator=estimator, probes=200).layers
    shares = model.route(x).bincount(minlength=8) / len(x)
    for name, layer in found.items():
        if name != "gate":
            assert_matrix_close(layer.covariance, shares[int(name[2:-1])] * torch.eye(3).double(), 0.2, name)


def test_the_start_is_that_of_the_same_expert() -> None:
    """An expert that no sample reached at initialisation has known initial weights, and K0 = 0."""
    model, start, x = experts(), experts(4), inputs(20)
    now, then = set(model.route(x).tolist()), set(start.route(x).tolist())
    assert now - then
    assert then - now
    table = measure(model, x, initial=start)
    for e in now:
        rows = table[(table.layer == f"w[{e}]") & (table.quantity == "relative_change")]
        change = (model.w[e] - start.w[e]).norm() / model.w[e].norm()
        assert rows.value.item() == pytest.approx(change.item(), rel=1e-12)
        moved = table[(table.layer == f"w[{e}]") & (table.quantity == "dc_nfc") & (table.correlation == "cosine")]
        centred = table[
            (table.layer == f"w[{e}]")
            & (table.quantity == "c_nfc")
            & (table.correlation == "cosine")
            & (table.power == "1")
        ]
        if e not in then:  # K0 is 0, so K - K0 is K
            assert moved.value.item() == pytest.approx(centred.value.item(), rel=1e-9)


def test_gradients_are_those_of_the_same_expert() -> None:
    model = experts()
    x = late(model, inputs())
    targets = torch.zeros(len(x), 2).double()
    found = weight_gradients(model, x, targets, squared_error, batch_size=30)
    squared_error(model(x), targets).backward()
    assert list(found) == list(measure_covariances(model, x).layers)
    for name, gradient in found.items():
        if name.startswith("w["):
            assert model.w.grad is not None
            assert_matrix_close(gradient, model.w.grad[int(name[2:-1])].T, 1e-10, name)


def test_a_monitor_logs_each_expert_under_its_own_number() -> None:
    model, x = experts(), inputs(20)
    used = [f"w[{e}]" for e in sorted(model.route(x).unique().tolist())]
    monitor = nfa.Monitor(model, x)
    before = monitor(0)
    numbers = {name: place for place, name in enumerate(["gate", *used, "readout"])}
    with torch.no_grad():
        model.gate.weight.copy_(experts(4).gate.weight)
    after = monitor(1)
    later = [f"w[{e}]" for e in sorted(model.route(x).unique().tolist()) if f"w[{e}]" not in numbers]
    assert later
    numbers |= {name: len(numbers) + place for place, name in enumerate(later)}
    keys = numbers | {"readout": "readout"}
    for step, logged in ((0, before), (1, after)):
        rows = monitor.frame.query(
            f"step == {step} and quantity == 'uc_nfc' and correlation == 'cosine' and power == '1'"
        )
        for name, value, note in zip(rows.layer, rows.value, rows.note, strict=True):
            assert logged[f"alignment/uc_nfc/{keys[name]}"] == pytest.approx(value, rel=0, abs=0, nan_ok=True), name
            assert (NOT_HERE in note) == (value != value)
    assert set(monitor.frame.query("step == 0").layer) < set(monitor.frame.query("step == 1").layer)


def test_another_layer_at_the_start_is_not_compared() -> None:
    model, x = experts(), inputs(20)
    layers = measure_covariances(model, x).layers
    first, second = [name for name in layers if name.startswith("w")][:2]
    notes = {}
    for case, initial in (("other", {first: layers[second]}), ("none", {second: layers[second]})):
        table = frame({first: layers[first]}, initial=initial)
        rows = table[table.quantity.isin(["c_nfc", "relative_change"])]
        assert rows.value.isna().all()
        notes[case] = set(rows.note)
    assert all(OTHER_START in note for note in notes["other"])
    assert all(NO_START in note for note in notes["none"])


def test_the_independent_check_agrees() -> None:
    model, x = experts(), inputs(20)
    table = nfa.check(model, x, samples=8)
    assert table.passed.all()
    assert len(table) > 3


def test_experts_gathered_by_an_index_are_left_out() -> None:
    model = Net(
        lambda m, x: m.readout(torch.tanh(torch.einsum("ni,nij->nj", x, m.w[m.gate(x).argmax(-1)]))),
        gate=nn.Linear(6, 4),
        w=draw(4, 6, 3),
        readout=nn.Linear(3, 2),
    ).double()
    measured = measure_covariances(model, inputs(9))
    assert list(measured.layers) == ["readout"]
    assert measured.left_out["w"] == GATHERED


def test_a_layer_can_be_asked_for_that_the_first_samples_do_not_use() -> None:
    model = experts()
    x = late(model, inputs())
    last = f"w[{int(model.route(x)[-1])}]"
    assert list(measure_covariances(model, x, layers=[last]).layers) == [last]
    with pytest.raises(ValueError, match=r"^layer 'w\[9\]' is not measured: did you mean"):
        measure_covariances(model, x, layers=["w[9]"])
    with pytest.raises(ValueError, match=r"^layer 'v' is not measured: "):
        measure_covariances(model, x, layers=["v"])


def grouped(m: Any, x: Tensor) -> Tensor:
    """Sort rows by expert, and multiply by all experts in one grouped operation."""
    chosen = m.gate(x).argmax(-1)
    order = chosen.argsort()
    ends = chosen.bincount(minlength=len(m.w)).cumsum(0).to(torch.int32)
    h = torch._grouped_mm(x[order], m.w, offs=ends)
    return m.readout(torch.tanh(h[order.argsort()]))  # type: ignore[no-any-return]


def one_by_one(m: Any, x: Tensor) -> Tensor:
    """Compute the same outputs sample by sample."""
    chosen = m.gate(x).argmax(-1).tolist()
    h = [tap(f"w[{e}]", one[None] @ m.w[e], m.w[e].T) for e, one in zip(chosen, x, strict=True)]
    return m.readout(torch.tanh(torch.cat(h)))  # type: ignore[no-any-return]


def test_grouped_products() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Net(grouped, gate=nn.Linear(8, 5), w=draw(5, 8, 4), readout=nn.Linear(4, 2))
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    measured = measure_covariances(model, x)
    exact = Net(one_by_one, gate=model.gate, w=model.w, readout=model.readout)
    found = {name: layer.covariance for name, layer in measured.layers.items()}
    weights = {name: layer.weight for name, layer in measured.layers.items()}
    expected = reference_layers(exact.double(), x.double())
    assert found.keys() == expected.keys() - {"gate"}
    for name, k in found.items():
        assert_matrix_close(weights[name], expected[name].weight, 0.0, name)
        assert_matrix_close(k, expected[name].covariance, 1e-5, name)


def test_the_check_runs_in_float32_what_has_no_float64() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Net(grouped, gate=nn.Linear(8, 5), w=draw(5, 8, 4), readout=nn.Linear(4, 2))
    table = nfa.check(model, torch.randn(20, 8), samples=6)
    assert table.passed.all()
    assert table.note.str.contains("float32").all()


class Reversed(nn.Module):
    """Runs experts of two layers each, the last one first, between two layers that all samples go through."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.readout, self.first = nn.Linear(4, 2), nn.Linear(6, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6) -> (n, 2)."""
        chosen, h = x[:, :4].argmax(1), torch.tanh(self.first(x))
        out = h
        for e in reversed(range(4)):
            rows = (chosen == e).nonzero().flatten()
            if len(rows):
                out = out.index_add(0, rows, self.experts[e](h[rows]))
        return self.readout(torch.tanh(out))  # type: ignore[no-any-return]


def test_the_order_of_layers_does_not_depend_on_the_batches() -> None:
    torch.manual_seed(0)
    model, x = Reversed().double(), inputs(90)
    experts_layers = [f"experts.{e}.{place}" for e in range(4) for place in (0, 2)]
    for order in (torch.arange(90), x[:, :4].argmax(1).argsort(), x[:, :4].argmax(1).argsort(descending=True)):
        for batch_size in (None, 1, 7, 40):
            found = measure_covariances(model, x[order], batch_size=batch_size).layers
            assert list(found) == ["first", *experts_layers, "readout"]
            assert [layer.index for layer in found.values()] == list(range(10))
