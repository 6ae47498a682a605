"""Samples from loaders that draw random numbers, shuffle, or give unusual shapes, and networks that change them."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from nfa.alignment import Monitor, covariances, measure, weight_gradients
from nfa.losses import squared_error


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6)).double()


INPUTS: Any = torch.randn(60, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def random_states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002


class Noisy:
    """A loader that draws from every global random generator."""

    def __iter__(self) -> Iterator[Tensor]:
        """Draw, and give all samples."""
        torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002
        yield INPUTS


@pytest.mark.parametrize(
    "call",
    [
        lambda model, loader: measure(model, loader, initial=model),
        lambda model, loader: measure(model, loader, samples=20),
        lambda model, loader: covariances(model, loader),
        lambda model, loader: Monitor(model, loader)(0),
    ],
)
@pytest.mark.parametrize(
    "loader",
    [DataLoader(INPUTS, 16, shuffle=True), DataLoader(INPUTS, 16), Noisy()],
    ids=["shuffled", "in order", "noisy"],
)
def test_reading_leaves_the_random_states(call: Callable[..., Any], loader: Any) -> None:
    model = network()
    before = random_states()
    call(model, loader)
    assert random_states() == before


def test_gradients_leave_the_random_states() -> None:
    model, pairs = network(), DataLoader(TensorDataset(INPUTS, INPUTS), 16, shuffle=True)
    before = random_states()
    weight_gradients(model, pairs, None, squared_error)
    assert random_states() == before


@pytest.mark.parametrize("options", [{}, {"samples": 20}, {"estimator": "sketched"}], ids=str)
def test_both_networks_see_the_same_samples(options: dict[str, Any]) -> None:
    """For an unchanged network K equals K0 to the last bit, although the loader shuffles."""
    model = network()
    loader: Any = DataLoader(INPUTS, 16, shuffle=True)
    table = measure(model, loader, initial=network(), **options)
    notes = set(table[(table.quantity == "dc_nfc") & (table.layer == "0")].note)
    assert notes == {"W equals W0: 0/0, and K - K0 is 0 at second order"}
    monitor = Monitor(model, loader, **options)
    monitor(0), monitor(1)
    first, second = (frame.drop(columns="step").reset_index(drop=True) for _, frame in monitor.frame.groupby("step"))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((INPUTS, INPUTS), "a pair could be inputs and targets"),
        (TensorDataset(INPUTS), "wrap it in a DataLoader"),
        ([INPUTS, INPUTS[:, None]], "samples of shape (1, 6) after samples of shape (6,)"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"samples": 20}, {"estimator": "sketched"}], ids=str)
def test_what_could_be_misread_is_refused(inputs: Any, said: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="inputs: ") as caught:
        measure(network(), inputs, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_inputs_of_inference_mode() -> None:
    with torch.inference_mode():
        inputs = INPUTS.clone()
    pd.testing.assert_frame_equal(measure(network(), inputs), measure(network(), INPUTS))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"correlation": "cosin"}, "did you mean 'cosine'"),
        ({"power": "2"}, "power: '2'"),
        ({"probe": 3}, "did you mean 'probes'"),
    ],
)
def test_a_monitor_checks_its_options_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="."[:1]) as caught:
        Monitor(network(), INPUTS, **options)
    assert said in str(caught.value)


class Clamping(nn.Module):
    """Changes its input in place, in every pass, or only where it sees a large entry."""

    def __init__(self, *, always: bool) -> None:
        """Take the network behind it."""
        super().__init__()
        self.body, self.always = network(), always

    def forward(self, x: Tensor) -> Tensor:
        """Clamp, and double the first entry."""
        large = x.amax(1) > 5
        if self.always or bool(large.any()):
            x.view(-1).clamp_(max=5)
            x[:, 0].mul_(1 + (large | self.always))
        y: Tensor = self.body(x)
        return y


@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize("estimator", ["exact", "sketched"])
def test_a_network_that_changes_its_input_in_place(always: bool, estimator: str) -> None:
    """Samples stay as they are, and K is that of the function, also if only a later batch is changed."""
    inputs = INPUTS.clone()
    inputs[50:] *= 10
    before = inputs.clone()
    model = Clamping(always=always)
    found = covariances(model, list(inputs.split(10)), estimator=estimator, batch_size=10)
    assert torch.equal(inputs, before)
    assert not inputs.requires_grad
    changed = [part.clone() for part in inputs.split(10)]
    for part in changed:
        large = part.amax(1) > 5
        part.clamp_(max=5)
        part[:, 0].mul_(1 + (large | always))
    expected = covariances(model.body, changed, estimator=estimator, batch_size=10)
    for name, matrix in expected.items():
        torch.testing.assert_close(found[f"body.{name}"], matrix, rtol=1e-12, atol=0)
