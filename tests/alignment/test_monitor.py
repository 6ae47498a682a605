"""The numbers that a monitor logs: each quantity beside its control, and the readout under its own name."""

import math

import pytest
import torch
from torch import Tensor, nn

import nfa
from nfa.alignment.quantities import QUANTITIES

QUANTITY_AND_CONTROL = [
    ("uc_nfc", "haar_nfc"),
    ("c_nfc", "c_haar_nfc"),
    ("directional", "directional_haar"),
    ("spectral", "spectral_haar"),
    ("c_directional", "c_directional_haar"),
    ("c_spectral", "c_spectral_haar"),
]


def moved(model: nn.Module) -> None:
    """Move the weights as training would."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def test_logged_numbers_are_those_of_the_frame() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    monitor = nfa.Monitor(model, torch.randn(20, 6))
    moved(model)
    logged = monitor(7)
    assert logged.pop("alignment/step") == 7
    assert logged.pop("alignment/log10_of_step_plus_1") == pytest.approx(math.log10(8))
    frame = monitor.frame
    shown = frame[frame.correlation.isna() | ((frame.correlation == "cosine") & (frame.power == "1"))]
    values = shown.set_index(["quantity", "layer"]).value
    names = [name for pair in QUANTITY_AND_CONTROL for name in pair]
    for name in (*names, "w0_nfc", "relative_change"):
        for layer, key in (("0", "0"), ("2", "1"), ("4", "readout")):
            assert logged.pop(f"alignment/{name}/{key}") == values[name, layer]
        mean = (values[name, "0"] + values[name, "2"]) / 2
        assert logged.pop(f"alignment/{name}/mean") == pytest.approx(mean)
    assert not logged
    assert monitor.layer_names == {"0": "0", "1": "2", "readout": "4"}
    assert [(name, QUANTITIES[name].control) for name, _ in QUANTITY_AND_CONTROL] == QUANTITY_AND_CONTROL


class TwoHeads(nn.Module):
    """Two readouts side by side."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.body, self.left, self.right = nn.Linear(6, 5), nn.Linear(5, 2), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6) -> (n, 5)."""
        hidden = self.body(x).tanh()
        return torch.cat([self.left(hidden), self.right(hidden)], 1)


def test_two_readouts_have_two_names_and_are_in_no_mean() -> None:
    torch.manual_seed(0)
    logged = nfa.Monitor(TwoHeads(), torch.randn(20, 6))(0)
    keys = [name.rpartition("/")[2] for name in logged if "/uc_nfc/" in name]
    assert keys == ["0", "readout", "readout_2", "mean"]
    assert logged["alignment/uc_nfc/mean"] == logged["alignment/uc_nfc/0"]
