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


class LessTheMean(nn.Module):
    """Takes a share of the batch's mean from every output; ``detached`` where autograd does not see it."""

    def __init__(self, share: float, detached: bool) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.readout = nn.Linear(6, 16), nn.Linear(16, 3)
        self.share, self.detached = share, detached

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6) -> (n, 3)."""
        outputs: Tensor = self.readout(torch.tanh(self.first(x)))
        mean = outputs.mean(0)
        return outputs - self.share * (mean.detach() if self.detached else mean)


def refused(model: nn.Module, inputs: Tensor) -> bool:
    try:
        covariances(model, inputs)
    except ValueError as error:
        assert str(error) == MIXED
        return True
    return False


# The smallest share that is stated in docs/quantities.md, by number type, and whether autograd follows it.
SMALLEST = {
    (torch.float32, False): 1e-5,
    (torch.float64, False): 1e-14,
    (torch.bfloat16, False): 1e-5,
    (torch.float32, True): 1e-4,
    (torch.float64, True): 1e-12,
    (torch.bfloat16, True): 1.0,
}


@pytest.mark.parametrize(("dtype", "detached"), SMALLEST)
@pytest.mark.parametrize("times", [1, 10, 100])
def test_a_share_of_the_mean_is_refused(dtype: torch.dtype, detached: bool, times: float) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        inputs = torch.randn(40, 6).to(dtype)
        assert refused(LessTheMean(times * SMALLEST[dtype, detached], detached).to(dtype), inputs)
        assert not refused(LessTheMean(0.0, detached).to(dtype), inputs)


class LastStep(nn.Module):
    """torch's default LSTM takes the first axis for time; it may draw a number besides, and its outputs be large."""

    def __init__(self, bias: float, batch_first: bool, draws: bool) -> None:
        """Make the layers."""
        super().__init__()
        self.cell, self.readout, self.draws = nn.LSTM(5, 16, batch_first=batch_first), nn.Linear(16, 1), draws
        nn.init.constant_(self.readout.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 10, 5) -> (n, 1)."""
        if self.draws:
            torch.rand(1)
        return self.readout(self.cell(x)[0][:, -1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("draws", [False, True])
@pytest.mark.parametrize("bias", [0.0, 100.0, 1e4])
def test_neither_large_outputs_nor_drawn_numbers_hide_it(bias: float, draws: bool) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(64, 10, 5)
    assert refused(LastStep(bias, False, draws), inputs)
    assert not refused(LastStep(bias, True, draws), inputs)


class DeadPath(nn.Module):
    """Attends over the samples to a path that no sample reaches as long as its units are off."""

    def __init__(self, *, off: bool = True) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.value, self.readout = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        nn.init.constant_(self.first.bias, -100.0 if off else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6) -> (n, 3)."""
        value = self.value(torch.relu(self.first(x)))
        return self.readout(value + value.mean(0)) + x[:, :3]  # type: ignore[no-any-return]


def test_a_path_between_samples_that_is_constant_on_them_is_seen() -> None:
    torch.manual_seed(0)
    model, inputs = DeadPath(), torch.randn(20, 6)
    with torch.no_grad():
        alone = torch.cat([model(sample) for sample in inputs.split(1)])
        torch.testing.assert_close(model(inputs), alone)  # values do not show it
    assert refused(model, inputs)


def test_tokens_that_see_those_of_other_samples_are_refused() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(9, (20, 5))
    for batch_first in (False, True):
        model = nn.Sequential(nn.Embedding(9, 3), encoder(batch_first), nn.Flatten(), nn.Linear(20, 1))
        nn.init.constant_(model.get_parameter("3.bias"), 1e4)
        assert refused(model, tokens) is not batch_first


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
