"""A network whose output for a sample depends on the others is refused; one that only looks so is not."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import check, covariances, measure
from nfa.alignment.independence import MIXED


class Recurrent(nn.Module):
    """A recurrent network that takes the first axis for time, as torch's do by default, or for samples."""

    def __init__(self, kind: Callable[..., nn.RNNBase], batch_first: bool) -> None:
        """Make the layers."""
        super().__init__()
        self.cell, self.readout = kind(3, 4, batch_first=batch_first), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 5, 3) -> (n, 5, 2)."""
        return self.readout(self.cell(x)[0])  # type: ignore[no-any-return]


def encoder(batch_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=batch_first)
    return nn.Sequential(nn.Linear(3, 4), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False))


def normalised(track_running_stats: bool) -> nn.Module:
    norm = nn.BatchNorm1d(4, track_running_stats=track_running_stats)
    return nn.Sequential(nn.Flatten(), nn.Linear(15, 4), norm, nn.ReLU(), nn.Linear(4, 2))


KINDS: dict[str, Callable[[bool], nn.Module]] = {
    "transformer": encoder,
    "rnn": lambda apart: Recurrent(nn.RNN, apart),
    "lstm": lambda apart: Recurrent(nn.LSTM, apart),
    "batch norm": normalised,
}


@pytest.mark.parametrize("samples", [3, 4, 70])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_that_see_each_other_are_refused(kind: str, samples: int) -> None:
    inputs = torch.randn(samples, 5, 3)
    assert covariances(KINDS[kind](True), inputs)
    for measurement in (covariances, measure, check):
        with pytest.raises(ValueError, match=f"^{re.escape(MIXED)}$"):
            measurement(KINDS[kind](False), inputs)


class StartsAtZero(nn.Module):
    """The difference of two halves that begin alike: what it gives is rounding, which the number of samples changes."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.readout = nn.Linear(3, 128), nn.Linear(128, 2, bias=False)
        with torch.no_grad():
            for parameter in self.first.parameters():
                parameter[64:] = parameter[:64]
            self.readout.weight[:, 64:] = -self.readout.weight[:, :64]

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        return self.readout(torch.relu(self.first(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [2, 7, 33, 100])
def test_outputs_that_are_rounding_alone_are_no_difference(samples: int, dtype: torch.dtype) -> None:
    for _ in range(10):
        model = StartsAtZero().to(dtype)
        assert len(covariances(model, torch.randn(samples, 3).to(dtype))) == 2


class Placed(nn.Linear):
    """Adds a number that the place of a sample decides."""

    def __init__(self) -> None:
        """Make the layer and the numbers."""
        super().__init__(3, 2)
        self.code = nn.Parameter(torch.randn(40, 2))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        return super().forward(x) + self.code[: len(x)]


class Whole(nn.Linear):
    """Written for one number of samples."""

    def forward(self, x: Tensor) -> Tensor:
        """(6, 3) -> (6, 2)."""
        return super().forward(x.reshape(6, 3))


class Drawing(nn.Linear):
    """Draws random numbers."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        h = super().forward(x)
        return h * (1 + torch.rand_like(h))


class Counting(nn.Linear):
    """Gives other outputs in every pass."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        self.passes += 1
        return super().forward(x) * self.passes


@pytest.mark.parametrize("kind", [Whole, Drawing, Counting, Placed])
def test_what_differs_for_another_reason_is_measured(kind: Callable[..., nn.Module]) -> None:
    for _ in range(20):
        model = kind() if kind is Placed else kind(3, 2)
        assert list(covariances(model, torch.randn(6, 3))) == [""]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_no_difference(dtype: torch.dtype) -> None:
    """A deep, wide network, whose sums are added in another order for another number of samples."""
    torch.manual_seed(0)
    layers = [module for _ in range(12) for module in (nn.Linear(300, 300), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(300, 3)).to(dtype)
    assert len(covariances(model, torch.randn(40, 300).to(dtype), samples=34, estimator="sketched")) == 13
