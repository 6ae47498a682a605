"""Networks under autocast, compiled or wrapped, and networks that make or change weights in the forward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import nfa
import nfa.theory
from nfa.alignment import check, covariances, left_out, measure
from nfa.alignment.network.recording import CHANGED

INPUTS = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))


class HalfWay(nn.Module):
    """Leaves autocast before its readout."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.readout = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 8) -> (n, 3)."""
        h = torch.relu(self.first(x))
        with torch.autocast("cpu", enabled=False):
            return self.readout(h.to(self.readout.weight))  # type: ignore[no-any-return]


def chain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


@contextmanager
def half(used: nn.Module | None = None) -> Iterator[None]:
    """The caller's autocast, perhaps after a pass of the network in it."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        if used is not None:
            used(INPUTS).sum().backward()
        yield


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "after a pass"])
@pytest.mark.parametrize("make", [chain, HalfWay])
def test_under_autocast_every_layer_is_measured(make: Callable[[], nn.Module], used: bool) -> None:
    torch.manual_seed(0)
    model = make()
    full = measure(model, INPUTS, initial=model)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        expected, theirs = measure(model, INPUTS, initial=model), nfa.Monitor(model, INPUTS)(0)
    with half(model if used else None):
        table = measure(model, INPUTS, initial=model)
        assert torch.is_autocast_cache_enabled()
        assert check(model, INPUTS).passed.all()
        monitored = nfa.Monitor(model, INPUTS)(0)
    assert table.attrs["left_out"] == {}
    pd.testing.assert_frame_equal(table, expected)
    assert monitored == pytest.approx(theirs, rel=0, abs=0, nan_ok=True)
    ansatz = table.quantity == "uc_nfc"
    assert list(table.layer) == list(full.layer)
    assert (table[ansatz].value - full[ansatz].value).abs().max() < 0.05


class Decorated(nn.Module):
    """A network with an autocast of its own, which caches cast weights."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.readout = nn.Linear(8, 16), nn.Linear(16, 3)

    @torch.autocast("cpu", dtype=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> Tensor:
        """(n, 8) -> (n, 3)."""
        return self.readout(torch.relu(self.first(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "after a pass"])
def test_autocast_of_the_network_s_own_in_another(used: bool) -> None:
    torch.manual_seed(0)
    model = Decorated()
    expected = measure(model, INPUTS, initial=model, targets=INPUTS[:, :3], loss="mse")
    with half(model if used else None):
        table = measure(model, INPUTS, initial=model, targets=INPUTS[:, :3], loss="mse")
    pd.testing.assert_frame_equal(table, expected)


class MaxNorm(nn.Linear):
    """Limits the norm of its weight's rows in the forward pass."""

    def __init__(self, limit: float, *, hidden: bool = False) -> None:
        """Take the largest norm; ``hidden``: change the values through ``.data``, which autograd does not see."""
        super().__init__(8, 16)
        self.limit, self.hidden = limit, hidden

    def forward(self, x: Tensor) -> Tensor:
        """(n, 8) -> (n, 16)."""
        with torch.no_grad():
            target = self.weight.data if self.hidden else self.weight
            target.copy_(torch.renorm(self.weight, 2, 0, self.limit))
        return super().forward(x)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_weight_that_the_pass_changes_is_left_out(hidden: bool) -> None:
    """Such a weight is left out: W would be the value before the pass, and K belong to the value after it."""
    model = nn.Sequential(MaxNorm(0.1, hidden=hidden), nn.ReLU(), nn.Linear(16, 3))
    assert list(covariances(model, INPUTS)) == ["2"]
    assert left_out(model, INPUTS) == {"0": CHANGED}
    assert list(check(model, INPUTS).layer) == ["2"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_weight_that_stays_as_it_was_is_measured(dtype: torch.dtype) -> None:
    for limit in (0.1, 100.0):
        model = nn.Sequential(MaxNorm(limit), nn.ReLU(), nn.Linear(16, 3)).to(dtype)
        model(INPUTS.to(dtype))  # applies the limit; later passes change the weight by rounding only
        assert list(covariances(model, INPUTS.to(dtype))) == ["0", "2"]
        assert dtype == torch.bfloat16 or check(model, INPUTS).passed.all()


@pytest.mark.parametrize("all_lazy", [False, True])
def test_lazy_layers_are_measured_once_the_pass_has_made_them(all_lazy: bool) -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.LazyLinear(16) if all_lazy else nn.Linear(8, 16), nn.ReLU(), nn.LazyLinear(3))

    model, made = make(), make()
    made(INPUTS)
    for measurement in (covariances, left_out, measure):
        model = make()
        found = measurement(model, INPUTS)
        assert list(found) == list(measurement(model, INPUTS))
    assert list(covariances(make(), INPUTS)) == ["0", "2"]
    assert left_out(make(), INPUTS) == {}
    assert check(made, INPUTS).passed.all()


class Shrinking(nn.Linear):
    """Shrinks its weight in the forward pass, always or for large samples."""

    def __init__(self, bound: float = 0.0) -> None:
        """Take the size above which a sample is large."""
        super().__init__(8, 16)
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        """(n, 8) -> (n, 16)."""
        if x.abs().max() > self.bound:
            with torch.no_grad():
                self.weight.mul_(0.9)
        return super().forward(x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_change_is_seen_in_every_number_type(dtype: torch.dtype) -> None:
    for scale in (1.0, 1000.0):  # at the second scale, the sum of squares overflows in float16
        model = nn.Sequential(Shrinking(), nn.Linear(16, 3)).to(dtype)
        with torch.no_grad():
            model.get_parameter("0.weight").mul_(scale)
        assert left_out(model, INPUTS.to(dtype)) == {"0": CHANGED}


def test_a_change_in_a_later_batch_is_refused() -> None:
    """A weight that only a later batch changes is refused, because K would lack that batch."""
    inputs = INPUTS.repeat(20, 1)
    model = nn.Sequential(Shrinking(bound=100.0), nn.ReLU(), nn.Linear(16, 3))
    assert list(covariances(model, inputs)) == ["0", "2"]
    inputs[900, 3] = 200.0
    with pytest.raises(ValueError, match=f"^layer '0': {CHANGED}$"):
        covariances(model, inputs, batch_size=100)
    assert list(covariances(model, inputs, batch_size=100, layers=["2"])) == ["2"]


class Copied(nn.Linear):
    """Changes a copy of its weight, and multiplies by the weight or by the copy."""

    def __init__(self, multiply: bool) -> None:
        """Choose the use of the copy."""
        super().__init__(8, 16)
        self.multiply = multiply

    def forward(self, x: Tensor) -> Tensor:
        """(n, 8) -> (n, 16)."""
        copy = self.weight.clone()
        copy -= copy.mean(1, keepdim=True)
        return nn.functional.linear(x, copy if self.multiply else self.weight)


@pytest.mark.parametrize("multiply", [False, True])
def test_a_copy_that_is_changed_is_not_the_weight(multiply: bool) -> None:
    model = nn.Sequential(Copied(multiply), nn.ReLU(), nn.Linear(16, 3))
    reason = "copied, and the copy changed: the matrix is computed from it"
    assert list(covariances(model, INPUTS)) == (["2"] if multiply else ["0", "2"])
    assert (reason in left_out(model, INPUTS).get("0", "")) == multiply
    assert check(model, INPUTS).passed.all()


class Making(nn.Module):
    """Makes a layer in the first forward pass, or in each."""

    def __init__(self, always: bool) -> None:
        """Choose the pass."""
        super().__init__()
        self.first, self.always = nn.Linear(8, 16), always

    def forward(self, x: Tensor) -> Tensor:
        """(n, 8) -> (n, 3)."""
        if self.always or not hasattr(self, "made"):
            self.made = nn.Linear(16, 3)
        return self.made(self.first(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize("always", [False, True])
def test_a_layer_that_the_pass_makes_is_none_of_the_network_s(always: bool) -> None:
    assert list(covariances(Making(always), INPUTS)) == ["first"]


def test_a_start_needs_parameters() -> None:
    lazy = nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(1))
    message = "^parameter '0.weight' is not initialised: run the network once on a batch first$"
    for theory in (nfa.theory.limit, nfa.theory.early_dynamics):
        with pytest.raises(ValueError, match=message):
            theory(lazy, INPUTS, INPUTS[:, 0], "mse")


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": lambda model: torch.compile(model),  # type: ignore[dict-item, return-value]
    "data parallel": nn.DataParallel,
    "both": lambda model: torch.compile(nn.DataParallel(model)),  # type: ignore[dict-item, return-value]
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_what_is_around_a_network_does_not_show(kind: str) -> None:
    model, start = chain(), chain()
    wrapped, other = WRAPPED[kind](model), WRAPPED[kind](start)
    expected = measure(model, INPUTS, initial=start)
    for initial in (start, start.state_dict(), other, other.state_dict()):
        pd.testing.assert_frame_equal(measure(wrapped, INPUTS, initial=initial), expected)
        pd.testing.assert_frame_equal(measure(model, INPUTS, initial=initial), expected)
    assert list(covariances(wrapped, INPUTS, layers=["0"])) == ["0"]
    assert list(check(wrapped, INPUTS).layer) == ["0", "2"]
    monitor = nfa.Monitor(wrapped, INPUTS)
    monitor(0)
    assert list(monitor.frame.layer.unique()) == ["0", "2"]
