"""What cannot be measured is refused in one sentence; what is left out is named with its reason."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import covariances, left_out, measure, measure_layer, weights_of


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


class Returns(nn.Module):
    """A network whose output is made of a layer's output."""

    def __init__(self, make: Callable[[Tensor], object]) -> None:
        """Take what makes the output."""
        super().__init__()
        self.layer, self.make = nn.Linear(3, 2), make

    def forward(self, x: Tensor) -> object:
        """(n, 3) -> what is made of (n, 2)."""
        return self.make(self.layer(x))


class Unused(nn.Module):
    """One layer is not called, another does not reach the output, a third runs without autograd when asked to."""

    def __init__(self, without_autograd: bool = False) -> None:
        """Make the layers."""
        super().__init__()
        self.idle, self.cut, self.readout = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.without_autograd = without_autograd

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 2)."""
        with torch.set_grad_enabled(not self.without_autograd):
            h = self.cut(x)
        return self.readout(x + h.detach())  # type: ignore[no-any-return]


INPUTS = torch.randn(5, 3)
NAN_INPUTS = INPUTS.clone().index_fill_(0, torch.tensor([3]), torch.nan)


def with_nan() -> nn.Sequential:
    model = network()
    with torch.no_grad():
        model.get_parameter("0.weight")[1, 1] = torch.nan
    return model


def without(name: str) -> dict[str, Tensor]:
    return {key: value for key, value in network().state_dict().items() if key != name}


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no layer": (
        lambda: covariances(nn.ReLU(), INPUTS),
        "ReLU has no layer to measure: no Linear and no ungrouped Conv2d",
    ),
    "unknown layer": (
        lambda: covariances(
            nn.Sequential(nn.Linear(3, 3), nn.ModuleDict({"readout": nn.Linear(3, 2)})), INPUTS, layers=["1.readuot"]
        ),
        "layer '1.readuot' is not measured: did you mean '1.readout'? valid: 0, 1.readout",
    ),
    "left-out layer": (
        lambda: covariances(nn.Sequential(nn.Embedding(3, 3), nn.Linear(3, 2)), INPUTS, layers=["0"]),
        "layer '0' is not measured: embedding: its weight is indexed, not multiplied",
    ),
    "empty list": (
        lambda: covariances(network(), INPUTS, layers=[]),
        "layers: the list is empty; name at least one layer, or pass None for all",
    ),
    "tuple": (
        lambda: covariances(Returns(lambda h: (h, h)), INPUTS),
        "the network returns tuple, not an (n, C) tensor: "
        "wrap it in a module that returns the tensor to be differentiated",
    ),
    "three dimensions": (
        lambda: covariances(Returns(lambda h: h[:, None]), INPUTS),
        "the network's output has shape (5, 1, 2) for 5 samples, not (n, C): wrap it in a module that reshapes it",
    ),
    "summed over samples": (
        lambda: covariances(Returns(lambda h: h.sum(0, keepdim=True)), INPUTS),
        "the network's output has shape (1, 2) for 5 samples, not (n, C): wrap it in a module that reshapes it",
    ),
    "no outputs": (
        lambda: covariances(Returns(lambda h: h[:, :0]), INPUTS),
        "the network's output has shape (5, 0) for 5 samples, not (n, C): wrap it in a module that reshapes it",
    ),
    "classes": (
        lambda: covariances(Returns(lambda h: h.argmax(1, keepdim=True)), INPUTS),
        "the network's output carries no gradient: it is detached, or made of integers",
    ),
    "not called": (
        lambda: covariances(Unused(), INPUTS, layers=["idle"]),
        "layer 'idle' has no differentiable path to the output, or is not called: "
        "leave it out by naming the others in layers=[...]",
    ),
    "detached": (
        lambda: covariances(Unused(), INPUTS, layers=["cut", "readout"]),
        "layer 'cut' has no differentiable path to the output, or is not called: "
        "leave it out by naming the others in layers=[...]",
    ),
    "no autograd": (
        lambda: covariances(Unused(without_autograd=True), INPUTS),
        "layer 'cut' runs under torch.no_grad(): its gradients cannot be taken",
    ),
    "zero samples": (lambda: covariances(network(), INPUTS[:0]), "inputs: zero samples; at least one is needed"),
    "zero batches": (lambda: covariances(network(), iter([])), "inputs: zero samples; at least one is needed"),
    "NaN inputs": (
        lambda: covariances(network(), NAN_INPUTS, batch_size=1),
        "inputs hold NaN or infinity: nothing can be measured",
    ),
    "NaN weights": (
        lambda: covariances(with_nan(), INPUTS),
        "parameter '0.weight' holds NaN or infinity: nothing can be measured",
    ),
    "pairs": (
        lambda: covariances(network(), [(INPUTS, INPUTS)]),  # type: ignore[list-item]
        "inputs: a batch is a tuple, not a tensor; pass e.g. (x for x, y in loader)",
    ),
    "other device": (
        lambda: covariances(network(), INPUTS.to("meta")),
        "inputs are on meta, the network on cpu: move one of them",
    ),
    "batch size": (lambda: covariances(network(), INPUTS, batch_size=0), "batch_size: 0 must be at least 1"),
    "initial lacks a key": (
        lambda: measure(network(), INPUTS, initial=without("2.bias")),
        "initial: '2.bias' is missing",
    ),
    "initial of another shape": (
        lambda: measure(network(), INPUTS, initial=nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))),
        "initial: '0.weight' has shape (5, 3), the model's (4, 3)",
    ),
    "initial has more": (
        lambda: measure(network(), INPUTS, initial=network().state_dict() | {"2.wieght": torch.zeros(2)}),
        "initial: '2.wieght' is not in the model: did you mean '2.weight'? valid: 0.bias, 0.weight, 2.bias, 2.weight",
    ),
    "gradient of another shape": (
        lambda: measure(network(), INPUTS, gradients={"2": torch.zeros(4, 2)}),
        "gradient of layer '2' has shape (4, 2), not (2, 4)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        call()
    assert str(caught.value) == message


def test_the_network_is_not_run_on_bad_inputs() -> None:
    model = network()
    model.register_forward_hook(lambda *_: pytest.fail("the network ran"))
    for bad in (NAN_INPUTS, INPUTS[:0]):
        with pytest.raises(ValueError, match="inputs"):
            covariances(model, bad, batch_size=1)


class Attention(nn.Module):
    """A weight of its own beside an attention module."""

    def __init__(self) -> None:
        """Make both."""
        super().__init__()
        self.attention, self.weight = nn.MultiheadAttention(4, 2), nn.Parameter(torch.zeros(2, 2))


def test_what_is_left_out_is_named_with_its_reason() -> None:
    model = nn.ModuleDict(
        {
            "embed": nn.Embedding(5, 4),
            "linear": nn.Linear(4, 4),
            "conv": nn.Conv2d(4, 4, 3),
            "grouped": nn.Conv2d(4, 4, 3, groups=2),
            "one": nn.Conv1d(4, 4, 3),
            "transposed": nn.ConvTranspose2d(4, 4, 3),
            "norm": nn.LayerNorm(4),
            "lstm": nn.LSTM(4, 4),
            "normed": nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
            "lazy": nn.LazyLinear(4),
            "own": Attention(),
        }
    )
    assert list(weights_of(model)) == ["linear", "conv"]
    assert weights_of(model)["conv"].shape == (4, 36)
    assert left_out(model) == {
        "embed": "embedding: its weight is indexed, not multiplied",
        "grouped": "grouped convolution: one weight matrix per group",
        "one": "a weight of Conv1d: only Linear and Conv2d are measured",
        "transposed": "transposed convolution: its weight is applied transposed",
        "lstm": "a weight of LSTM: only Linear and Conv2d are measured",
        "normed.parametrizations.weight": "a weight of ParametrizationList: only Linear and Conv2d are measured",
        "lazy": "not initialised: run the network once on a batch first",
        "own": "a weight of Attention: only Linear and Conv2d are measured",
        "own.attention": "attention: query, key and value share one weight that is used without calling a module",
        "own.attention.out_proj": "output projection of an attention module, which uses its weight without calling it",
    }


def test_every_generator_is_the_callers() -> None:
    """The control draws from the generator that is given, not from the global one."""
    layer = covariances(network(), INPUTS)["0"]
    twice = [measure_layer(layer, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    control = [next(row["value"] for row in rows if row["quantity"] == "haar_nfc") for rows in twice]
    assert control[0] == control[1] != control[2]
