"""Networks whose outputs for a sample depend on other samples are refused; networks that only seem to are measured."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import check, covariances, measure, measure_covariances
from nfa.alignment.network.independence import MIXED
from nfa.alignment.network.samples import Inputs


class Recurrent(nn.Module):
    """A recurrent network whose first axis is time, as in torch's default, or the samples."""

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
    """Subtracts a share of the batch's mean from every output; ``detached`` hides the mean from autograd."""

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


def refused(model: nn.Module, inputs: Inputs) -> bool:
    try:
        covariances(model, inputs)
    except ValueError as error:
        assert str(error) == MIXED
        return True
    return False


# The smallest share that is found, as docs/quantities.md states it: by number type, and whether autograd follows it.
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
    """An LSTM whose first axis is time; it may also draw a random number, and have large outputs."""

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
    """Adds the mean over samples of a path that is constant as long as its units are off."""

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
        torch.testing.assert_close(model(inputs), alone)  # the outputs do not show the mixing
    assert refused(model, inputs)


def test_tokens_that_see_those_of_other_samples_are_refused() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(9, (20, 5))
    for batch_first in (False, True):
        model = nn.Sequential(nn.Embedding(9, 3), encoder(batch_first), nn.Flatten(), nn.Linear(20, 1))
        nn.init.constant_(model.get_parameter("3.bias"), 1e4)
        assert refused(model, tokens) is not batch_first


class StartsAtZero(nn.Module):
    """The difference of two equal halves: its outputs are rounding, which depends on the number of samples."""

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
    """Adds a number that depends on a sample's place in the batch."""

    def __init__(self) -> None:
        """Make the layer and the numbers."""
        super().__init__(3, 2)
        self.code = nn.Parameter(torch.randn(40, 2))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        return super().forward(x) + self.code[: len(x)]


class Whole(nn.Linear):
    """Runs on one number of samples only."""

    def forward(self, x: Tensor) -> Tensor:
        """(6, 3) -> (6, 2)."""
        return super().forward(x.reshape(6, 3))


class Drawing(nn.Linear):
    """Draws random numbers."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        h = super().forward(x)
        return h * (1 + torch.rand_like(h))


class DrawingForSome(nn.Linear):
    """Draws random numbers for samples with a positive first entry."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        some = (x[:, 0] > 0).nonzero().flatten()
        return super().forward(x.index_add(0, some, torch.randn_like(x[some])))


class CountingDown(nn.Linear):
    """Gives smaller outputs in every pass."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        self.passes += 1
        return super().forward(x) / self.passes


class Counting(nn.Linear):
    """Gives other outputs in every pass."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        self.passes += 1
        return super().forward(x) * self.passes


@pytest.mark.parametrize("kind", [Whole, Drawing, DrawingForSome, Counting, CountingDown])
def test_what_differs_for_another_reason_is_measured(kind: Callable[..., nn.Module]) -> None:
    for _ in range(20):
        model = kind(3, 2)
        assert list(covariances(model, torch.randn(6, 3))) == [""]


def test_a_sample_whose_outputs_cancel_is_measured() -> None:
    """An output that crosses zero is rounded as its terms are: some 1 of 10,000 random networks was refused for it."""
    for seed in range(40):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))
        inputs = torch.randn(32, 3)
        with torch.no_grad():
            outputs = model(inputs)[:, 0]
            below, above = inputs[outputs.argmin()].clone(), inputs[outputs.argmax()].clone()
            model[-1].bias -= (outputs.min() + outputs.max()) / 2
            for _ in range(30):
                middle = (below + above) / 2
                below, above = (middle, above) if model(middle) < 0 else (below, middle)
        inputs[::4] = torch.lerp(below, above, torch.linspace(0, 1, 8)[:, None])
        assert covariances(model, inputs, batch_size=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_no_difference(dtype: torch.dtype) -> None:
    """A deep, wide network, in which torch adds in another order for another number of samples."""
    torch.manual_seed(0)
    layers = [module for _ in range(12) for module in (nn.Linear(300, 300), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(300, 3)).to(dtype)
    assert len(covariances(model, torch.randn(40, 300).to(dtype), samples=34, estimator="sketched")) == 13


def body() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


class Capacity(nn.Module):
    """Sends samples to one expert until it has a share of the batch; all others take another way."""

    def __init__(self, share: float = 0.25, least: int = 0) -> None:
        """Make the layers.

        Args:
            share: Of the batch.
            least: So many samples are always sent there.
        """
        super().__init__()
        self.body, self.share, self.least = body(), share, least

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        y = self.body(x)
        on = x[:, 0] > 0
        capacity = max(int(self.share * len(x)), self.least)
        return torch.where((on & (on.cumsum(0) <= capacity))[:, None], y, torch.tanh(3 * y))


class ByBatch(nn.Module):
    """Changes the outputs by a function of the whole batch's outputs."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        """Make the layers."""
        super().__init__()
        self.body, self.change = body(), change

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        return self.change(self.body(x))


BY_BATCH: dict[str, Callable[[], nn.Module]] = {
    "capacity": Capacity,
    "code of the place": Placed,
    "number": lambda: ByBatch(lambda y: y * len(y)),
    "place": lambda: ByBatch(lambda y: y * (1 + 0.1 * torch.arange(len(y))[:, None])),
    "more than 32": lambda: ByBatch(lambda y: y * 2 if len(y) > 32 else y),
    "largest": lambda: ByBatch(lambda y: y / y.abs().max().detach()),
}


@pytest.mark.parametrize("options", [{}, {"batch_size": 1}, {"samples": 36}, {"estimator": "sketched"}], ids=str)
@pytest.mark.parametrize("kind", BY_BATCH)
def test_outputs_by_place_or_number_are_refused(kind: str, options: dict[str, Any]) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        model, inputs = BY_BATCH[kind](), torch.randn(40, 3)
        if kind == "more than 32" and {"batch_size", "samples"} & set(options):
            assert measure_covariances(model, inputs, **options).layers  # it does not run on so many
            continue
        with pytest.raises(ValueError, match=f"^{re.escape(MIXED)}$"):
            measure_covariances(model, inputs, **options)


@pytest.mark.parametrize("options", [{}, {"estimator": "sketched"}], ids=str)
@pytest.mark.parametrize("batch", [1000, 500])
def test_an_expert_that_is_full_at_the_end_of_a_batch_is_refused(batch: int, options: dict[str, Any]) -> None:
    """The expert takes every second sample until it is full; the samples that miss it are not among the tried ones."""
    torch.manual_seed(0)
    model, inputs = Capacity(0.505, 40), torch.randn(1000, 3)
    wanted = torch.arange(1000) % 2 == 0
    for end in range(batch, 1001, batch):
        wanted[end - batch // 25 : end - 1] = True
    inputs[:, 0] = inputs[:, 0].abs() * (2 * wanted - 1)
    given: Inputs = inputs if batch == 1000 else list(inputs.split(batch))
    with pytest.raises(ValueError, match=f"^{re.escape(MIXED)}$"):
        measure_covariances(model, given, **options)
    assert not refused(Capacity(0.6, 40), inputs), "nobody misses it"


@pytest.mark.parametrize("samples", [3, 5, 10, 32, 200])
def test_a_detached_largest_output_is_refused(samples: int) -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        assert refused(BY_BATCH["largest"](), torch.randn(samples, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_what_the_batch_does_not_change_is_measured(dtype: torch.dtype) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        model = ByBatch(lambda y: y / y.abs().amax(1, keepdim=True).detach()).to(dtype)
        for samples in (2, 3, 33, 1500):
            assert not refused(model, torch.randn(samples, 3).to(dtype))


@pytest.mark.parametrize("kind", ["options", "loader", "short first batch"])
def test_small_batches_do_not_turn_the_guard_off(kind: str) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(60, 15)
    given: Any = {"options": inputs, "loader": list(inputs.split(1)), "short first batch": [inputs[:1], inputs[1:]]}
    options: dict[str, Any] = {"batch_size": 1} if kind == "options" else {}
    assert measure_covariances(normalised(True), given[kind], **options).layers
    with pytest.raises(ValueError, match=f"^{re.escape(MIXED)}$"):
        measure_covariances(normalised(False), given[kind], **options)


class Late(nn.Module):
    """Sends samples of one kind through a part that the others do not use."""

    def __init__(self, part: nn.Module) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.part = nn.Linear(6, 2), part

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6) -> (n, 2)."""
        some = (x[:, 0] > 0).nonzero().flatten()
        y: Tensor = self.first(x)
        return y.index_add(0, some, self.part(x[some])) if len(some) else y


def late_inputs(late: slice) -> Tensor:
    """Make 600 samples; those that take the late part are not among the samples of the first trial."""
    x = torch.randn(600, 6)
    x[:, 0] = -x[:, 0].abs()
    x[late, 0] = x[late, 0].abs()
    return x


@pytest.mark.parametrize("parts", [None, 40, 1])
def test_a_part_that_later_samples_reach_is_tried(parts: int | None) -> None:
    torch.manual_seed(0)
    inputs = late_inputs(slice(200, 216))
    given = inputs if parts is None else list(inputs.split(parts))
    norm = nn.BatchNorm1d(2, track_running_stats=False)
    for part, mixes in ((nn.Linear(6, 2), False), (nn.Sequential(nn.Linear(6, 2), norm), True)):
        assert refused(Late(part), given) is mixes
