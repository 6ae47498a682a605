"""Notes about a whole network: random draws, NaN outputs, complex outputs, autocast, controls that are none."""

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import nfa
from nfa.alignment import covariances, measure, measure_covariances, weight_gradients
from nfa.alignment.check import TWO_DRAWS
from nfa.alignment.covariance.layer_covariances import NOT_FINITE
from nfa.alignment.network.trial import DRAWN, UNSTEADY
from nfa.alignment.quantities.fact import DECOUPLED
from nfa.alignment.quantities.haar import NO_CONTROL
from nfa.optim import OPTIMIZERS
from tests.alignment.comparing import WITHOUT_K, assert_matrix_close, note_of
from tests.alignment.networks import squared_error
from tests.alignment.test_reasons import Dropping, Unnumbered


class Variational(nn.Module):
    """A variational autoencoder that draws with the generator of Python, numpy or torch."""

    def __init__(self, source: str = "torch") -> None:
        """Make the layers."""
        super().__init__()
        self.encode, self.decode, self.source = nn.Linear(4, 6), nn.Linear(3, 2), source

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 2)."""
        mean, scale = self.encode(x).chunk(2, 1)
        draws: dict[str, Callable[[], Tensor]] = {
            "torch": lambda: torch.randn_like(mean),
            "numpy": lambda: torch.from_numpy(np.random.randn(*mean.shape)).to(mean),  # noqa: NPY002
            "python": lambda: mean.new_tensor([random.gauss(0, 1)]),
        }
        noise = draws[self.source]()
        return self.decode(mean + scale.exp() * noise)  # type: ignore[no-any-return]


@pytest.mark.parametrize("model", [Variational(), Variational("numpy"), Variational("python"), Dropping()])
def test_a_network_that_draws_is_measured_on_one_draw_and_says_so(model: nn.Module) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(20, 4)
    table = measure(model, inputs)
    known = table[table.value.notna()]
    assert known[~known.quantity.isin(WITHOUT_K)].note.str.contains(DRAWN, regex=False).all()
    assert (known[known.quantity.isin(WITHOUT_K)].note == "").all()
    checked = nfa.check(model, inputs)
    assert not checked.passed.any()
    assert set(checked.note) == {TWO_DRAWS}
    assert checked.error.isna().all()


class OwnDraws(nn.Module):
    """Changes its outputs in every pass, independently of every global random state."""

    def __init__(self, kind: str) -> None:
        """Make the layers, and the sources of change."""
        super().__init__()
        self.first, self.second, self.kind, self.passes = nn.Linear(4, 6), nn.Linear(6, 2), kind, 0
        self.torch = torch.Generator().manual_seed(0)
        self.numpy = np.random.default_rng(0)
        self.python = random.Random(0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 2)."""
        self.passes += 1
        change: dict[str, Callable[[], Any]] = {
            "torch": lambda: torch.randn(x.shape, generator=self.torch),
            "numpy": lambda: torch.from_numpy(self.numpy.normal(size=x.shape)).to(x),
            "python": lambda: self.python.gauss(0, 1),
            "passes": lambda: self.passes / 10,
            "time": lambda: time.perf_counter_ns() % 1000 / 1000,
            "for some": lambda: torch.where(x[:, :1] > 0, torch.randn(x.shape, generator=self.torch), x),
        }
        return self.second(torch.tanh(self.first(x + change[self.kind]())))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["torch", "numpy", "python", "passes", "time", "for some"])
def test_a_network_with_draws_of_its_own_says_so(kind: str) -> None:
    torch.manual_seed(0)
    model, inputs = OwnDraws(kind), torch.randn(20, 4)
    states = model.torch.get_state(), model.numpy.bit_generator.state, model.python.getstate(), model.passes
    table = measure(model, inputs)
    known = table[table.value.notna() & ~table.quantity.isin(WITHOUT_K)]
    assert len(known)
    assert known.note.str.contains(UNSTEADY, regex=False).all()
    checked = nfa.check(model, inputs, samples=20)
    assert not checked.passed.any()
    assert set(checked.note) == {UNSTEADY}
    assert torch.equal(model.torch.get_state(), states[0])
    assert (model.numpy.bit_generator.state, model.python.getstate(), model.passes) == states[1:]
    if kind != "time":
        pd.testing.assert_frame_equal(measure(model, inputs), table)


def test_a_part_that_later_samples_reach_may_draw() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.noisy = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            some = (x[:, 0] > 0).nonzero().flatten()
            y: Tensor = self.first(x)
            return y.index_add(0, some, self.noisy(x[some] + torch.randn_like(x[some]))) if len(some) else y

    torch.manual_seed(0)
    inputs = torch.randn(600, 4)
    inputs[:, 0] = -inputs[:, 0].abs()
    inputs[200:216, 0] = inputs[200:216, 0].abs()
    for given in (inputs, list(inputs.split(40))):
        found = measure_covariances(Late(), given).layers
        assert all(layer.remarks == (DRAWN,) for layer in found.values())


def test_a_number_that_is_drawn_and_not_used_is_no_matter() -> None:
    class Idle(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            torch.rand(3)
            return super().forward(x)

    torch.manual_seed(0)
    model, inputs = nn.Sequential(Idle(4, 5), nn.Tanh(), nn.Linear(5, 2)), torch.randn(20, 4)
    assert not measure(model, inputs).note.str.contains("draw").any()
    assert nfa.check(model, inputs).passed.all()


def test_outputs_that_are_no_numbers_are_said() -> None:
    torch.manual_seed(0)
    model, inputs = Unnumbered(), torch.randn(20, 4)
    table = measure(model, inputs)
    known = table[table.value.notna() & ~table.quantity.isin(WITHOUT_K)]
    assert len(known)
    assert known.note.str.contains(NOT_FINITE, regex=False).all()


class Complex(nn.Module):
    """Gives complex outputs, or their parts as two real ones."""

    def __init__(self, parts: bool) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.second, self.parts = nn.Linear(4, 6), nn.Linear(6, 6), parts

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 3) complex, or (n, 6) real."""
        real, imaginary = self.second(torch.tanh(self.first(x))).chunk(2, 1)
        return torch.cat([real, -imaginary], 1) if self.parts else torch.complex(real, imaginary).conj()


@pytest.mark.parametrize("estimator", ["exact", "sketched"])
def test_both_parts_of_complex_outputs_count(estimator: str) -> None:
    torch.manual_seed(0)
    model, parts = Complex(False).double(), Complex(True).double()
    parts.load_state_dict(model.state_dict())
    inputs = torch.randn(20, 4).double()
    found, expected = (measure_covariances(m, inputs, estimator="exact").layers for m in (model, parts))
    for name, layer in expected.items():
        assert_matrix_close(found[name].covariance, layer.covariance, 1e-12, name)
        assert found[name].outputs == 6
    assert len(covariances(model, inputs, estimator=estimator)) == 2
    assert nfa.check(model, inputs).passed.all()


class OwnHalf(nn.Module):
    """Enters autocast in its own forward pass."""

    def __init__(self, body: nn.Module) -> None:
        """Take the module that runs in half precision."""
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """(n, 8) -> (n, 3)."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.body(x).float()  # type: ignore[no-any-return]


@pytest.mark.parametrize("own", [False, True])
def test_the_caller_s_autocast_changes_nothing(own: bool) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    model, inputs = OwnHalf(body) if own else body, torch.randn(30, 8)
    targets = torch.randn(30, 3)
    expected = measure(model, inputs, initial=model, targets=targets, loss="mse", weight_decay=0.1)
    gradients = weight_gradients(model, inputs, targets, squared_error)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        table = measure(model, inputs, initial=model, targets=targets, loss="mse", weight_decay=0.1)
        same = weight_gradients(model, inputs, targets, squared_error)
        assert nfa.check(model, inputs).passed.all()
        assert torch.is_autocast_enabled("cpu")
    pd.testing.assert_frame_equal(table, expected)
    assert all(torch.equal(same[name], gradient) for name, gradient in gradients.items())
    if own:
        full = measure(body, inputs)
        assert (full.value.to_numpy() != measure(model, inputs).value.to_numpy()).any()


def vacuous() -> dict[str, tuple[nn.Module, Tensor, str]]:
    torch.manual_seed(0)
    depthwise = nn.Sequential(
        nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1, groups=8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
    )
    images = torch.randn(12, 4, 3, 3)
    depthwise(images)
    narrow = nn.Sequential(nn.Linear(6, 1), nn.Tanh(), nn.Linear(1, 2))
    isotropic = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 4, bias=False))
    nn.init.orthogonal_(isotropic.get_parameter("1.weight"))
    single = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 2))
    vectors = torch.randn(12, 6)
    return {
        "depthwise": (depthwise, images, "1"),
        "one row": (narrow, vectors, "0"),
        "K is isotropic": (isotropic.double(), vectors.double(), "0"),
        "one column": (single, vectors[:, :1], "0"),
    }


@pytest.mark.parametrize("kind", vacuous())
def test_a_control_that_no_rotation_changes_is_none(kind: str) -> None:
    model, inputs, layer = vacuous()[kind]
    initial = {name: value + 0.1 * torch.randn_like(value) for name, value in model.state_dict().items()}
    table = measure(model, inputs, initial=initial)
    rows = table[(table.layer == layer) & (table.correlation == "cosine")]
    control = rows[rows.quantity.isin(["haar_nfc", "haar_nfc_sd", "c_haar_nfc"]) & (rows.power == "1")]
    assert len(control) == 3
    assert control.value.isna().all()
    assert set(control.note) == {NO_CONTROL}
    assert rows[(rows.quantity == "uc_nfc") & (rows.power == "1")].value.notna().all()


def test_a_large_isotropic_covariance_has_no_control() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 1100, bias=False), nn.Linear(1100, 1100, bias=False)).double()
    nn.init.orthogonal_(model.get_parameter("1.weight"))
    table = measure(model, torch.randn(4, 3).double(), layers=["0"], estimator="exact", batch_size=4)
    assert note_of(table, "haar_nfc_sd", "0") == NO_CONTROL


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_decay_is_coupled_or_decoupled(name: str) -> None:
    """Every optimizer with a weight decay declares whether it is coupled or decoupled."""
    entry = OPTIMIZERS[name]
    if "weight_decay" in entry.settings.model_fields:
        settings = entry.settings.model_validate({"name": name, "lr": 0.1, "weight_decay": 0.25})
        assert sorted((entry.weight_decay(settings), entry.decoupled_decay(settings))) == [0.0, 0.25]


def test_decoupled_decay_is_not_said_to_be_zero() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    table = measure(model, torch.randn(20, 4), decoupled_decay=0.01)
    assert note_of(table, "fact", "0") == DECOUPLED.format(decay=0.01)
    with pytest.raises(ValueError, match=r"^decoupled_decay: -1 must be"):
        measure(model, torch.randn(20, 4), decoupled_decay=-1)
