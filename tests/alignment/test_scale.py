"""Networks scaled by a constant, and matrices whose entries hardly vary, in float32."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import measure


class Scaled(nn.Module):
    """A network times a constant, which changes no correlation."""

    def __init__(self, constant: float) -> None:
        """Make the layers."""
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 6))
        self.constant = constant

    def forward(self, x: Tensor) -> Tensor:
        """(n, 8) -> (n, 6)."""
        return self.body(x) * self.constant  # type: ignore[no-any-return]


def values(model: nn.Module, inputs: Tensor, **options: Any) -> dict[tuple[str, str], float]:
    """UC-NFC at power 1 of every layer but the readout."""
    table = measure(model, inputs, **options)
    rows = table[(table.quantity == "uc_nfc") & (table.power == "1") & (table.depth_from_output > 0)]
    assert rows.note.eq("").all()
    return dict(zip(zip(rows.layer, rows.correlation, strict=True), rows.value, strict=True))


@pytest.mark.parametrize("constant", [1e-30, 1e-23, 1e-21, 1e-9, 1e9, 1e20, 1e30])
@pytest.mark.parametrize(
    "options", [{}, {"samples": 200}, {"estimator": "sketched"}, {"estimator": "sketched", "samples": 150}], ids=str
)
def test_the_scale_of_the_output_changes_nothing(constant: float, options: dict[str, Any]) -> None:
    inputs = torch.randn(200, 8, generator=torch.Generator().manual_seed(1))
    expected = values(Scaled(1.0), inputs, **options)
    found = values(Scaled(constant), inputs, **options)
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("variation", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("size", [64, 300])
def test_entries_that_hardly_vary(variation: float, size: int) -> None:
    """float32 networks against the same weights in float64, where the mean entry is nearly all of a matrix."""
    torch.manual_seed(2)
    hidden = nn.Linear(size, size)
    model = nn.Sequential(nn.Linear(20, size), nn.Tanh(), hidden, nn.Tanh(), nn.Linear(size, 6))
    with torch.no_grad():
        hidden.weight.copy_(0.02 * (1 + variation * torch.randn(size, size)))
    inputs = torch.randn(100, 20)
    double = deepcopy(model).double()
    for options in ({}, {"samples": 100}, {"estimator": "sketched"}):
        expected = values(double, inputs.double(), **options)
        # The cancellation amplifies the rounding of the float32 gradients themselves.
        assert values(model, inputs, **options) == pytest.approx(expected, abs=2e-5), options
    control = "quantity == 'haar_nfc' and power == '1' and layer == '2'"
    single, exact = (measure(m, x).query(control) for m, x in ((model, inputs), (double, inputs.double())))
    assert single.value.tolist() == pytest.approx(exact.value.tolist(), abs=2e-5)
