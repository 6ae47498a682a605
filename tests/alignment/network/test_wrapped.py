"""``Wrapped``: layers and numbers are those of the network itself; samples are packed without changing a value."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import nfa
from nfa.alignment import Wrapped, check, covariances, left_out, matrices, measure
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.jacobians import reference_layers


class Two(nn.Module):
    """Takes tokens, a mask and numbers, returns a dict, and has dropout."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.body = nn.ModuleList([nn.Linear(4, 6), nn.Linear(3, 6)])
        self.dropout = nn.Dropout(0.5)
        self.readout = nn.Linear(6, 2)

    def forward(self, *, tokens: Tensor, mask: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        """Tokens (n, 5), mask (n, 5) and numbers (n, 3, 1)."""
        assert tokens.dtype == torch.int64
        assert mask.dtype == torch.bool
        h = torch.relu(self.body[0](self.embedding(tokens))) * mask[..., None]
        return {"logits": self.readout(self.dropout(h.sum(1) + torch.tanh(self.body[1](numbers[..., 0]))))}


def batch(n: int = 12) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "tokens": torch.randint(11, (n, 5), generator=generator),
        "mask": torch.rand(n, 5, generator=generator) < 0.6,
        "numbers": torch.randn(n, 3, 1, generator=generator),
    }


def logits(model: Any, samples: dict[str, Tensor]) -> Tensor:
    return model(**samples)["logits"]  # type: ignore[no-any-return]


def network() -> Two:
    torch.manual_seed(0)
    return Two()


def test_layers_and_numbers_are_the_networks_own() -> None:
    model, samples = network(), batch()
    wrapped = Wrapped(model, logits, samples)
    inputs = wrapped.pack(samples)
    still = deepcopy(model).eval().double()
    expected = reference_layers(still, inputs.double(), lambda x: logits(still, wrapped._unpack(x)))
    found = covariances(wrapped, inputs, batch_size=5)
    assert list(found) == ["body.0", "body.1", "readout"] == list(expected)
    for name, value in found.items():
        assert_matrix_close(value, expected[name].covariance, 1e-5, name)
    assert left_out(wrapped, inputs) == {"embedding": "embedding: its weight is indexed, not multiplied"}
    assert check(wrapped, inputs).passed.all()
    nfm, _ = matrices(wrapped, inputs, "readout")
    assert_matrix_close(nfm, (model.readout.weight.mT @ model.readout.weight).detach(), 1e-6)


def test_a_wrapped_network_is_measured_through_training_and_left_as_it_was() -> None:
    model, samples = network(), batch()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    wrapped = Wrapped(model, logits, samples)
    inputs = wrapped.pack(samples)
    monitor = nfa.Monitor(wrapped, inputs)
    with torch.no_grad():
        model.readout.weight.add_(1)
    logged = monitor(1)
    assert logged["alignment/relative_change/readout"] > 0.5
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table = measure(wrapped, inputs, initial=start)
    pd.testing.assert_frame_equal(table.drop(columns="step"), monitor.frame.drop(columns="step"))
    whole = measure(wrapped, [wrapped.pack(samples)], initial=Wrapped(network(), logits, samples))
    pd.testing.assert_series_equal(whole.value, table.value)
    assert model.training
    assert model.dropout.training
    assert wrapped.training
    assert list(wrapped.named_buffers()) == []
    twice = {name: 2 * value for name, value in wrapped.named_parameters()}
    doubled = torch.func.functional_call(wrapped.eval(), twice, (inputs,))
    assert torch.equal(doubled, torch.func.functional_call(model, twice, kwargs=samples)["logits"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_layer_that_is_the_network_itself() -> None:
    wrapped = Wrapped(nn.Linear(3, 2), lambda model, x: model(x).square())
    x = torch.randn(6, 3)
    assert [name for name, _ in wrapped.named_parameters()] == ["weight", "bias"]
    assert list(covariances(wrapped, x)) == [""]
    assert check(wrapped, x).passed.all()
    state = {name: torch.zeros_like(value) for name, value in wrapped.named_parameters()}
    assert not torch.func.functional_call(wrapped, state, (x,)).any()


def test_one_tensor_goes_through_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(6, 3)
    compiled: Any = torch.compile(model)
    wrapped = Wrapped(compiled, lambda model, x: {"y": model(x)}["y"])
    assert wrapped.pack(x) is x
    for name, value in covariances(wrapped, x).items():
        assert torch.equal(value, covariances(model, x)[name])


@pytest.mark.parametrize(
    ("dtypes", "packed"),
    [
        ((torch.int64, torch.bool), torch.int64),
        ((torch.int32, torch.float16), torch.float16),
        ((torch.float32, torch.float64), torch.float64),
    ],
)
def test_what_is_packed_comes_back(dtypes: tuple[torch.dtype, torch.dtype], packed: torch.dtype) -> None:
    samples = {
        "b": (torch.arange(12).reshape(4, 3) % 2).to(dtypes[0]),
        "a": torch.arange(4).to(dtypes[1]),
    }
    wrapped = Wrapped(nn.Linear(1, 1), lambda model, given: given["a"], samples)
    found = wrapped.pack(samples)
    assert found.dtype == packed
    assert found.shape == (4, 4)
    for name, value in wrapped._unpack(found).items():
        assert value.dtype == samples[name].dtype
        assert torch.equal(value, samples[name])


def test_tensors_that_do_not_fit_are_refused_in_a_sentence() -> None:
    samples = batch()
    wrapped = Wrapped(network(), logits, samples)
    for wrong, message in (
        ({**samples, "mask": samples["mask"][:5]}, "12 in 'tokens', 5 in 'mask', 12 in 'numbers'"),
        ({**samples, "mask": samples["mask"][:, :4]}, r"'mask' has samples of shape \(4,\), not \(5,\)"),
        ({**samples, "mask": None}, "'mask' is a NoneType, not a tensor with the samples first"),
        ({**samples, "more": samples["mask"]}, "a dict of tokens, mask, numbers, more, not of tokens, mask, numbers"),
        ({**samples, "tokens": samples["tokens"] + 2**24}, "'tokens' holds integers that torch.float32 would round"),
        ({**samples, "numbers": samples["numbers"] + 1j}, "'numbers' is complex"),
    ):
        with pytest.raises(ValueError, match=f"^samples: .*{message}"):
            wrapped.pack(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^samples: .* is needed, not none$"):
        Wrapped(network(), logits, {})
    with pytest.raises(ValueError, match=r"^samples: a dict; give one to Wrapped too"):
        Wrapped(network(), logits).pack(samples)
    with pytest.raises(ValueError, match="NaN or infinity"):
        measure(wrapped, wrapped.pack({**samples, "numbers": samples["numbers"] / 0}))


CHANGED: dict[str, tuple[str, torch.dtype, str]] = {
    "half a mask": ("mask", torch.float32, r"'mask' holds 0\.5, which bool would make True: give bool, as in the dict"),
    "no whole number": ("tokens", torch.float32, r"'tokens' holds 0\.5, which int64 would make 0: give int64"),
    "rounded": (
        "numbers",
        torch.float64,
        r"'numbers' holds 0\.1, which float32 would make 0\.1000000014\d+: give floa",
    ),
    "overflow": ("numbers", torch.float64, r"'numbers' holds 1e\+300, which float32 would make inf: give float32"),
    "NaN": ("tokens", torch.float32, r"'tokens' holds nan, which int64 would make -?\d+: give int64"),
}
VALUES = {"rounded": 0.1, "overflow": 1e300, "NaN": float("nan")}


@pytest.mark.parametrize("case", CHANGED)
def test_no_value_changes_when_samples_are_packed(case: str) -> None:
    samples = batch()
    name, dtype, message = CHANGED[case]
    wrapped = Wrapped(network(), logits, samples)
    same = samples[name].to(dtype)
    assert torch.equal(wrapped.pack({**samples, name: same}), wrapped.pack(samples))
    same[3] = VALUES.get(case, 0.5)
    with pytest.raises(ValueError, match=f"^samples: {message}") as caught:
        wrapped.pack({**samples, name: same})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("measurement", [measure, covariances, check, left_out])
def test_a_dict_without_the_wrapper_is_told_the_way(measurement: Callable[..., Any]) -> None:
    samples = batch()
    for inputs in (samples, [samples], (samples for _ in range(2))):
        with pytest.raises(ValueError, match=r"^inputs: a dict, not a tensor: network = nfa\.Wrapped\("):
            measurement(network(), inputs)
    with pytest.raises(ValueError, match=r"^inputs: a dict"):
        measure(network(), samples, initial=network())  # type: ignore[arg-type]
