"""Arguments of the public functions: accepted where they have one meaning, else refused at once in one sentence."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import nfa
from nfa.alignment import weight_gradients
from nfa.losses import squared_error
from nfa.theory import early_dynamics, limit

INPUTS = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randn(20, 3, generator=torch.Generator().manual_seed(2))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def conv() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


def tokens() -> nn.Sequential:
    return nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 2))


# Every public function that measures a network, by name: (model, inputs, options).
ENTRIES: dict[str, Callable[..., Any]] = {
    "measure": nfa.measure,
    "measure with a start": lambda model, inputs, **more: nfa.measure(model, inputs, initial=network(), **more),
    "covariances": nfa.covariances,
    "matrices": lambda model, inputs, **more: nfa.matrices(model, inputs, "0", **more),
    "check": nfa.check,
    "left_out": nfa.left_out,
    "Monitor": nfa.Monitor,
    "limit": lambda model, inputs, **more: limit(model, inputs, TARGETS, "mse", **more),
    "weight_gradients": lambda model, inputs, **more: weight_gradients(model, inputs, TARGETS, squared_error, **more),
}


def refused(call: Callable[[], Any]) -> str:
    """Return the one sentence with which a call is refused."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the caller compares the words)
        call()
    told = str(caught.value)
    assert "\n" not in told
    return told


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (network, INPUTS.double(), ["they are float64, and the network takes float32", "inputs.to(torch.float32)"]),
        (network, torch.ones(20, 6, dtype=torch.int64), ["they are int64, and the network takes float32"]),
        (tokens, torch.ones(20, 3), ["they are float32, and the network takes int64"]),
        (network, torch.ones(20, 7), ["samples of shape (7,)", "layer '0' takes 6 inputs and was given 7"]),
        (conv, torch.ones(20, 8, 8, 3), ["samples of shape (8, 8, 3)", "layer '0' takes 3 channels and was given 8"]),
        (conv, torch.ones(20, 1, 8, 8), ["samples of shape (1, 8, 8)", "layer '0' takes 3 channels and was given 1"]),
        (conv, torch.ones(20, 3, 9, 8), ["samples of shape (3, 9, 8)", "layer '3' takes 144 inputs and was given 168"]),
        (conv, torch.ones(20, 3, 2, 8), ["does not run on samples of shape (3, 2, 8): RuntimeError", "Kernel size"]),
        (tokens, torch.tensor([[0, 7, 1]] * 20), ["token 7 is out of range: layer '0' takes 0 to 4"]),
        (tokens, torch.tensor([[0, -1, 1]] * 20), ["token -1 is out of range: layer '0' takes 0 to 4"]),
        (network, [INPUTS, INPUTS.double()], ["a batch of float64 after batches of float32"]),
        (network, INPUTS[:0], ["zero samples"]),
        (network, [], ["zero samples"]),
        (network, INPUTS.to("meta"), ["on meta, the network on cpu"]),
        (network, INPUTS.numpy(), ["numpy array", "torch.from_numpy"]),
        (network, [INPUTS.numpy()], ["a batch is a ndarray", "torch.from_numpy"]),
        (network, [[1.0, 2.0, 3.0]], ["a batch is a list", "torch.tensor"]),
        (network, {"x": INPUTS}, ["inputs: a dict, not a tensor", "nfa.Wrapped"]),
        (network, "images", ["a batch is a str"]),
    ],
    ids=[
        "double",
        "integers",
        "no tokens",
        "width",
        "channels last",
        "grey",
        "image size",
        "small image",
        "token",
        "negative token",
        "mixed types",
        "none",
        "no batch",
        "device",
        "numpy",
        "numpy batch",
        "list",
        "dict",
        "text",
    ],
)
def test_samples_that_cannot_be_taken_are_refused(
    entry: str, model: Callable[[], nn.Module], inputs: Any, words: list[str]
) -> None:
    if entry == "measure with a start" and model is not network:
        pytest.skip("the start is another network")
    if entry == "check" and isinstance(inputs, Tensor) and inputs.dtype == torch.float64:
        pytest.skip("check brings samples to float64 itself")
    if entry == "Monitor" and isinstance(inputs, list) and len(inputs) == 2:
        pytest.skip("it runs the network on the first samples only, until it measures")
    if entry in ("limit", "weight_gradients") and isinstance(inputs, list) and len(inputs) == 2:
        inputs = [part[:10] for part in inputs]
    told = refused(lambda: ENTRIES[entry](model(), inputs))
    if words == ["zero samples"] and entry in ("limit", "weight_gradients"):
        words = ["0 inputs but 20 targets"]
    assert all(word in told for word in words), told
    assert told.count("the network takes") <= 1, told  # one sentence, also where a second network is measured


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("probes", "1", "probes: '1' must be a whole number"),
        ("probes", True, "probes: True must be a whole number"),
        ("batch_size", 2.5, "batch_size: 2.5 must be a whole number"),
        ("batch_size", 0, "batch_size: 0 must be at least 1"),
        ("samples", "8", "samples: '8' must be a whole number"),
        ("samples", 0, "samples: 0 must be at least 1"),
        ("seed", 0.5, "seed: 0.5 must be a whole number"),
        ("seed", -1, "seed: -1 must be at least 0"),
        ("estimator", "exakt", "estimator: 'exakt' is none of auto, exact, sketched"),
        ("heads", "no", "heads: 'no' must be True or False"),
        ("layers", "0", "layers: '0' is not a list of names; pass for instance ['0']"),
        ("layers", [0], "layers: 0 is not text; names of layers are, such as '0'"),
        ("layers", range(0), "layers: the list is empty"),
        ("weight_decay", "0.1", "weight_decay: '0.1' must be a number of at least 0"),
    ],
    ids=str,
)
def test_options_are_checked_before_the_network_runs(entry: str, option: str, value: Any, words: str) -> None:
    taken = {
        "left_out": set(),
        "check": {"samples", "seed", "layers", "heads"},
        "weight_gradients": {"batch_size", "heads"},
    }.get(entry, {"probes", "batch_size", "samples", "seed", "estimator", "heads", "layers", "weight_decay"})
    if option not in taken or (option, entry) in {("layers", "matrices")}:
        pytest.skip("it has no such option")
    if option == "weight_decay" and entry in ("covariances", "matrices", "limit"):
        pytest.skip("it has no such option")
    model = network()
    model.register_forward_hook(lambda *_: pytest.fail("the network ran"))
    assert refused(lambda: ENTRIES[entry](model, INPUTS, **{option: value})).startswith(words)


@pytest.mark.parametrize("step", ["1", 0.5])
def test_a_step_is_a_whole_number(step: Any) -> None:
    assert "step" in refused(lambda: nfa.measure(network(), INPUTS, step=step))
    assert "step" in refused(lambda: nfa.Monitor(network(), INPUTS)(step))


@pytest.mark.parametrize("entry", ["measure", "covariances", "check", "limit"])
def test_a_mistyped_layer_is_told_with_the_nearest(entry: str) -> None:
    assert "did you mean 'readout'" in refused(lambda: ENTRIES[entry](Named(), INPUTS, layers=["raedout"]))


class Named(nn.Module):
    """A network whose layers have names."""

    def __init__(self) -> None:
        """Make them."""
        super().__init__()
        self.hidden, self.readout = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6) -> (n, 3)."""
        return self.readout(torch.tanh(self.hidden(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("options", [{}, {"samples": 7}, {"estimator": "sketched"}, {"initial": network()}], ids=str)
def test_a_tensor_dataset_of_inputs_alone(options: dict[str, Any]) -> None:
    """Batches of a DataLoader over one tensor are lists of one tensor."""
    expected = nfa.measure(network(), DataLoader(INPUTS, 8), **options)  # type: ignore[arg-type]
    found = nfa.measure(network(), DataLoader(TensorDataset(INPUTS), 8), **options)
    pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(nfa.measure(network(), ((part,) for part in INPUTS.split(8)), **options), expected)


def test_layers_from_an_iterator() -> None:
    """An iterator of layers' names is read once, although several networks are measured."""
    expected = nfa.measure(network(), INPUTS, initial=network(), layers=["2"])
    found = nfa.measure(network(), INPUTS, initial=network(), layers=iter(["2"]))
    pd.testing.assert_frame_equal(found, expected)
    monitor = nfa.Monitor(network(), INPUTS, layers=(name for name in ["2"]))
    monitor(0), monitor(1)
    assert monitor.frame.groupby("step").layer.unique().map(list).tolist() == [["2"], ["2"]]
    assert set(nfa.check(network(), INPUTS, layers=iter(["2"])).layer) == {"2"}
    table = limit(network(), INPUTS, TARGETS, "mse", layers=iter(["2"]))  # type: ignore[arg-type]
    assert set(table.layer) == {"2"}


def test_an_empty_batch_among_others_changes_nothing() -> None:
    parts = [INPUTS[:0], INPUTS[:9], INPUTS[9:9], INPUTS[9:]]
    expected = nfa.measure(network(), [INPUTS[:9], INPUTS[9:]])
    pd.testing.assert_frame_equal(nfa.measure(network(), parts), expected)
    assert len(nfa.measure(network(), parts, samples=5)) == len(expected)


class Shuffling(IterableDataset[Tensor]):
    """Gives its batches in another order each time, and other samples with each."""

    def __init__(self) -> None:
        """Count the passes."""
        self.passes = 0

    def __iter__(self) -> Iterator[Tensor]:
        """Give other samples in every pass."""
        self.passes += 1
        yield from (INPUTS * self.passes).split(8)


def test_an_iterable_dataset_is_read_once() -> None:
    """The network and its initial copy see the same samples, so that K equals K0."""
    data = Shuffling()
    table = nfa.measure(network(), data, initial=network())
    assert data.passes == 1
    notes = set(table[(table.quantity == "dc_nfc") & (table.layer == "0")].note)
    assert notes == {"W equals W0: 0/0, and K - K0 is 0 at second order"}


@pytest.mark.parametrize(
    ("targets", "loss", "words"),
    [
        (TARGETS[:7], "mse", "20 inputs but 7 targets"),
        (TARGETS.numpy(), "mse", "ndarray is no tensor"),
        (TARGETS[:, :2], "mse", "one target has shape (2,), one output (3,)"),
        (torch.arange(20) % 4, "cross_entropy", "classes 0 to 3, but the outputs are for classes 0 to 2"),
        (None, "mse", "none given"),
        (TARGETS, 3, "loss: 3"),
    ],
    ids=["fewer", "numpy", "narrow", "classes", "none", "loss"],
)
def test_targets_are_refused_before_anything_is_measured(
    targets: Any, loss: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object, **__: object) -> None:
        pytest.fail("K was measured first, which can take an hour")

    module = sys.modules[nfa.measure.__module__]  # the package has a function of that name
    monkeypatch.setattr(module, "measured_covariances", measured)
    assert words in refused(lambda: nfa.measure(network(), INPUTS, targets=targets, loss=loss))


def test_an_exception_with_another_cause_is_left_as_it_is() -> None:
    """An error in the network itself is not blamed on the samples."""
    broken = nn.Sequential(nn.Linear(6, 6), nn.Linear(5, 3))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        nfa.covariances(broken, INPUTS)


@pytest.mark.parametrize(
    ("inputs", "options", "words"),
    [
        (DataLoader(INPUTS, 8), {}, "inputs: gradient flow needs all samples at once"),  # type: ignore[arg-type]
        (INPUTS[:0], {}, "inputs: gradient flow"),
        (torch.ones(20, 7), {}, "layer '0' takes 6 inputs and was given 7"),
        (INPUTS, {"batch_size": 2.5}, "batch_size: 2.5 must be a whole number"),
        (INPUTS, {"heads": 1}, "heads: 1 must be True or False"),
    ],
    ids=["loader", "none", "width", "batch size", "heads"],
)
def test_early_dynamics_check_what_they_are_given(inputs: Any, options: dict[str, Any], words: str) -> None:
    assert words in refused(lambda: early_dynamics(network(), inputs, TARGETS, "mse", **options))


@pytest.mark.parametrize("number", [np.int64(4), 4])
def test_whole_numbers_of_numpy_are_taken(number: Any) -> None:
    found = nfa.measure(network(), INPUTS, samples=number, seed=number, batch_size=number, probes=number)
    assert set(found.seed) == {4}
