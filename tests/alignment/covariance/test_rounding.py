"""Where the true gradient is zero, K is rounding and values are NaN; small but real gradients are measured."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import nfa
from nfa.alignment import measure, measure_covariances
from nfa.alignment.network.trial import MAGNIFIED
from nfa.alignment.quantities.centred import K_CHANGE_ROUNDING
from nfa.alignment.quantities.layer import K_ROUNDING
from nfa.alignment.quantities.subject import CHANGE_ROUNDING
from nfa.theory.limit import limit
from tests.alignment.architectures import ARCHITECTURES
from tests.alignment.comparing import WITHOUT_K, note_of


class EqualValues(nn.Module):
    """Attention over equal values: its result does not depend on query and key."""

    def __init__(self, *, tokens: bool = False) -> None:
        """Make the layers, after an embedding for ``tokens``."""
        super().__init__()
        self.embedding = nn.Embedding(20, 8) if tokens else nn.Identity()
        self.q, self.k, self.v, self.r = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 5, 8), or (n, 5) tokens, -> (n, 3)."""
        x = self.embedding(x)
        attention = torch.softmax(self.q(x) @ self.k(x).mT, -1)
        return self.r((attention @ self.v(x[:, :1]).expand(-1, 5, -1)).mean(1))  # type: ignore[no-any-return]


class MeanAfterNorm(nn.Module):
    """The mean over positions of channels that were normalised over positions, which is zero."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.c, self.norm, self.r = nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n, 3)."""
        return self.r(self.norm(self.c(x)).mean((2, 3)))  # type: ignore[no-any-return]


CANCELLED: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], list[str]]] = {
    "attention": (EqualValues, lambda: torch.randn(16, 5, 8), ["q", "k"]),
    "tokens": (lambda: EqualValues(tokens=True), lambda: torch.randint(20, (16, 5)), ["q", "k"]),
    "normalisation": (MeanAfterNorm, lambda: torch.randn(8, 3, 8, 8), ["c"]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"estimator": "sketched"}, {"samples": 7}], ids=str)
@pytest.mark.parametrize("kind", CANCELLED)
def test_a_gradient_that_cancels_is_undefined(kind: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    make, draw, cancelled = CANCELLED[kind]
    for seed in range(5):
        torch.manual_seed(seed)
        model, start, inputs = make().to(dtype), make().to(dtype), draw()
        inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
        targets = torch.randn(len(inputs), 3, dtype=dtype)
        table = measure(model, inputs, initial=start, targets=targets, loss="mse", weight_decay=0.1, **options)
        for layer in cancelled:
            rows = table[table.layer == layer]
            assert rows[~rows.quantity.isin(WITHOUT_K)].value.isna().all()
            assert set(rows[~rows.quantity.isin(WITHOUT_K)].note) == {K_ROUNDING}
            assert rows[rows.quantity.isin(WITHOUT_K)].value.notna().all()
        assert K_ROUNDING not in set(table[~table.layer.isin(cancelled)].note)
        start_rows = limit(model, inputs, targets, "mse", **options)
        assert set(start_rows[start_rows.layer.isin(cancelled)].note) == {K_ROUNDING}


def test_check_does_not_pass_what_is_rounding() -> None:
    make, draw, cancelled = CANCELLED["normalisation"]
    for seed in range(5):
        torch.manual_seed(seed)
        table = nfa.check(make(), draw(), samples=8).set_index("layer")
        assert not table.passed[cancelled].any()
        assert set(table.note[cancelled]) == {K_ROUNDING}
        assert table.error[cancelled].isna().all()
        assert table.passed.r


def defined(table: pd.DataFrame) -> bool:
    """Tell whether UC-NFC at powers 1 and 1/2 and the number of directions are defined at every layer."""
    chosen = table.quantity.isin(["uc_nfc", "stable_rank_k", "commutator"]) & (table.power != "depth")
    return bool(table[chosen].value.notna().all())


@pytest.mark.parametrize("factor", [1e-12, 1e-30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_outputs_of_any_scale_are_measured(dtype: torch.dtype, factor: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)).to(dtype)
    with torch.no_grad():
        for parameter in model[4].parameters():
            parameter.mul_(factor)
    inputs = torch.randn(40, 6).to(dtype)
    assert defined(measure(model, inputs))
    assert not any(layer.is_rounding for layer in measure_covariances(model, inputs).layers.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_that_vanish_with_depth_are_measured(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layers = [module for _ in range(20) for module in (nn.Linear(10, 10), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(10, 2)).to(dtype)
    found = measure_covariances(model, torch.randn(40, 10).to(dtype)).layers
    traces = [layer.covariance.trace().item() for layer in found.values()]
    assert traces[0] < 1e-20 * traces[-1]
    assert not any(layer.is_rounding for layer in found.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_no_network_of_the_tests_is_rounding(architecture: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, inputs = architecture.network().to(dtype), architecture.inputs()
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    for name, layer in measure_covariances(model, inputs).layers.items():
        trace = layer.covariance.diagonal(dim1=-2, dim2=-1).sum().item()
        assert trace > 1e6 * layer.rounding, name  # K of real gradients is far above rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weights_that_moved_by_their_last_digit_have_no_change(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3)).to(dtype)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = torch.randn(40, 6).to(dtype)
    with torch.no_grad():
        up = torch.rand(12, 6) < 0.5
        start["0.weight"] = torch.where(up, _next(start["0.weight"], 1), _next(start["0.weight"], -1))
        start["2.weight"] = start["2.weight"] * (1 + 100 * torch.finfo(dtype).eps)
    table = measure(model, inputs, initial=start)
    for quantity in ("c_nfc", "c_haar_nfc", "dc_nfc"):
        assert note_of(table, quantity, "0") == CHANGE_ROUNDING
    assert table[(table.quantity == "relative_change")].value.notna().all()
    assert table[(table.layer == "2") & (table.quantity == "c_nfc") & (table.power == "1")].value.notna().all()


def _next(weight: Tensor, sign: int) -> Tensor:
    """The next number of the same type, away from zero or towards it."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    return (weight.view(integers) + sign).view(weight.dtype)


def test_a_covariance_that_moved_by_rounding_has_not_changed() -> None:
    """K of the first layer of a linear network depends on the readout alone, which moves by its last digit."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12, bias=False), nn.Linear(12, 3, bias=False))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    start["0.weight"] = torch.randn(12, 6)
    start["1.weight"] = torch.where(torch.rand(3, 12) < 0.5, _next(start["1.weight"], 1), _next(start["1.weight"], -1))
    table = measure(model, torch.randn(40, 6), initial=start)
    assert note_of(table, "dc_nfc", "0") == K_CHANGE_ROUNDING
    start["1.weight"] = start["1.weight"] * (1 + 1e-5 * torch.rand(3, 12))
    table = measure(model, torch.randn(40, 6), initial=start)
    assert table[(table.layer == "0") & (table.quantity == "dc_nfc")].value.notna().all()


class SomeThroughEqualValues(nn.Module):
    """Sends some samples through attention over equal values, whose query and key have no gradient."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.late = nn.Linear(8, 3), EqualValues()

    def forward(self, x: Tensor) -> Tensor:
        """(n, 5, 8) -> (n, 3)."""
        some = (x[:, 0, 0] > 0).nonzero().flatten()
        y: Tensor = self.first(x.mean(1))
        return y.index_add(0, some, self.late(x[some])) if len(some) else y


@pytest.mark.parametrize("options", [{}, {"estimator": "sketched"}, {"batch_size": 10}], ids=str)
def test_rounding_in_a_part_that_later_samples_reach_is_undefined(options: dict[str, Any]) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        inputs = torch.randn(600, 5, 8)
        inputs[:, 0, 0] = -inputs[:, 0, 0].abs()
        inputs[200:216, 0, 0] = inputs[200:216, 0, 0].abs()
        found = measure_covariances(SomeThroughEqualValues(), inputs, **options).layers
        assert {name: layer.is_rounding for name, layer in found.items()} == {
            "first": False,
            "late.q": True,
            "late.k": True,
            "late.v": False,
            "late.r": False,
        }


class Chaotic(nn.Module):
    """A recurrent network whose weights magnify every difference, step by step."""

    def __init__(self, gain: float = 4.0) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.step, self.readout = nn.Linear(4, 30), nn.Linear(30, 30), nn.Linear(30, 2)
        nn.init.normal_(self.step.weight, std=gain / 30**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 2)."""
        h = self.first(x)
        for _ in range(40):
            h = torch.tanh(self.step(h))
        return self.readout(h)  # type: ignore[no-any-return]


def test_a_network_that_magnifies_rounding_says_so() -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        model, inputs = Chaotic(), torch.randn(40, 4)
        table = measure(model, inputs)
        known = table[table.value.notna() & ~table.quantity.isin(WITHOUT_K)]
        note = MAGNIFIED.format(percent=5, dtype="float32")
        assert len(known)
        assert known.note.str.contains(note, regex=False).all()
        assert not measure(Chaotic(0.5), inputs).note.str.contains("last digits of the samples").any()
