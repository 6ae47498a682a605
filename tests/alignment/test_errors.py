"""Networks that cannot be measured are refused in one sentence; weights left out are named with their reasons."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import check, covariances, frame, left_out, matrices, measure, measure_layer
from nfa.losses import LOSSES
from tests.alignment.networks import layers_of


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


class Returns(nn.Module):
    """A network whose output is a given function of a layer's output."""

    def __init__(self, make: Callable[[Tensor], object]) -> None:
        """Take the function that makes the output."""
        super().__init__()
        self.layer, self.make = nn.Linear(3, 2), make

    def forward(self, x: Tensor) -> object:
        """(n, 3) -> the function of (n, 2)."""
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
TOKENS = torch.randint(3, (5, 3))
NAN_INPUTS = INPUTS.clone().index_fill_(0, torch.tensor([3]), torch.nan)


def with_nan() -> nn.Sequential:
    model = network()
    with torch.no_grad():
        model.get_parameter("0.weight")[1, 1] = torch.nan
    return model


def without(name: str) -> dict[str, Tensor]:
    return {key: value for key, value in network().state_dict().items() if key != name}


def in_inference_mode(call: Callable[..., object], **options: object) -> object:
    with torch.inference_mode():
        return call(network(), INPUTS, **options)


SCRIPTED = "torch.jit.ScriptModule, whose products are hidden: pass what it was made of"
INFERENCE = "torch.inference_mode is on: autograd cannot work there; call outside, or use torch.no_grad"
SHAPE = "wrap it in a module that puts the samples first"
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no parameter": (lambda: covariances(nn.ReLU(), INPUTS), "ReLU has no parameter, so no layer to measure"),
    "class": (
        lambda: covariances(nn.Linear, INPUTS),  # type: ignore[arg-type]
        "model: the class Linear itself, not a network: an instance of torch.nn.Module is needed",
    ),
    "function": (
        lambda: measure(lambda x: x, INPUTS),  # type: ignore[arg-type]
        "model: a function, not a network: an instance of torch.nn.Module is needed",
    ),
    "no values": (
        lambda: covariances(network().to("meta"), INPUTS),
        "parameter '0.weight' is on the meta device: it has no values to measure",
    ),
    "no inputs": (
        lambda: covariances(network(), None),  # type: ignore[arg-type]
        "inputs: NoneType is neither a tensor (n, ...) nor an iterable of batches",
    ),
    "sparse inputs": (
        lambda: covariances(network(), INPUTS.to_sparse()),
        "inputs: torch.sparse_coo, not a dense tensor (n, ...)",
    ),
    "a number as inputs": (
        lambda: covariances(network(), torch.tensor(1.0)),
        "inputs: a single number, not a dense tensor (n, ...)",
    ),
    "half a sample": (
        lambda: covariances(network(), INPUTS, samples=1.5),
        "samples: 1.5 must be a whole number",
    ),
    "start in a file": (
        lambda: measure(network(), INPUTS, initial="start.pt"),  # type: ignore[arg-type]
        "initial: str is neither a network nor a state dict",
    ),
    "start that is used up": (
        lambda: measure(network(), INPUTS, initial=iter([])),  # type: ignore[arg-type]
        "initial: list_iterator is neither a network nor a state dict",
    ),
    "update of no layer": (
        lambda: measure(network(), INPUTS, initial=network(), updates={"00": torch.zeros(4, 3)}),
        "updates: no layer '00' is measured; did you mean '0'? valid: 0, 2",
    ),
    "negative weight decay": (
        lambda: measure(network(), INPUTS, weight_decay=-1.0),
        "weight_decay: -1.0 must be a number of at least 0",
    ),
    "no layer": (
        lambda: covariances(nn.BatchNorm1d(3), INPUTS),
        "the network has no layer to measure (it has no weight matrix)",
    ),
    "all left out": (
        lambda: covariances(nn.Sequential(nn.Embedding(3, 3), nn.Flatten()), TOKENS),
        "the network has no layer to measure ('0': embedding: its weight is indexed, not multiplied)",
    ),
    "unknown layer": (
        lambda: covariances(
            nn.Sequential(nn.Linear(3, 3), nn.Sequential(OrderedDict(readout=nn.Linear(3, 2)))),
            INPUTS,
            layers=["1.readuot"],
        ),
        "layer '1.readuot' is not measured: did you mean '1.readout'? valid: 0, 1.readout",
    ),
    "left-out layer": (
        lambda: covariances(nn.Sequential(nn.Embedding(3, 3), nn.Linear(3, 2)), TOKENS, layers=["0"]),
        "layer '0' is not measured: embedding: its weight is indexed, not multiplied",
    ),
    "layer of matrices": (
        lambda: matrices(network(), INPUTS, "1"),
        "layer '1' is not measured: valid: 0, 2",
    ),
    "empty list": (
        lambda: covariances(network(), INPUTS, layers=[]),
        "layers: the list is empty; name at least one layer, or pass None for all",
    ),
    "tuple": (
        lambda: covariances(Returns(lambda h: (h, h)), INPUTS),
        "the network returns tuple, not a tensor: wrap it in a module that returns the tensor to be differentiated",
    ),
    "summed over samples": (
        lambda: covariances(Returns(lambda h: h.sum(0, keepdim=True)), INPUTS),
        f"the network's output has shape (1, 2) for 5 samples, not (n, ...): {SHAPE}",
    ),
    "a number": (
        lambda: covariances(Returns(lambda h: h.sum()), INPUTS),
        f"the network's output has shape () for 5 samples, not (n, ...): {SHAPE}",
    ),
    "no outputs": (
        lambda: covariances(Returns(lambda h: h[:, :0]), INPUTS),
        f"the network's output has shape (5, 0) for 5 samples, not (n, ...): {SHAPE}",
    ),
    "classes": (
        lambda: covariances(Returns(lambda h: h.argmax(1, keepdim=True)), INPUTS),
        "the network's output carries no gradient: it is detached, or made of integers",
    ),
    "not called": (
        lambda: covariances(Unused(), INPUTS, layers=["idle"]),
        "layer 'idle' is not measured: not used in the forward pass",
    ),
    "detached": (
        lambda: covariances(Unused(), INPUTS, layers=["cut", "readout"]),
        "layer 'cut' is not measured: no differentiable path from its product to the output",
    ),
    "no autograd": (
        lambda: covariances(Unused(without_autograd=True), INPUTS, layers=["cut"]),
        "layer 'cut' is not measured: "
        "its product runs where autograd is off (torch.no_grad, a reentrant checkpoint, a detached weight)",
    ),
    "estimator": (
        lambda: covariances(network(), INPUTS, estimator="exakt"),
        "estimator: 'exakt' is none of auto, exact, sketched",
    ),
    "probes": (lambda: covariances(network(), INPUTS, probes=0), "probes: 0 must be at least 1"),
    "samples": (lambda: covariances(network(), INPUTS, samples=0), "samples: 0 must be at least 1"),
    "zero samples": (lambda: covariances(network(), INPUTS[:0]), "inputs: zero samples; at least one is needed"),
    "zero batches": (lambda: covariances(network(), iter([])), "inputs: zero samples; at least one is needed"),
    "zero samples to draw from": (
        lambda: covariances(network(), INPUTS[:0], samples=3),
        "inputs: zero samples; at least one is needed",
    ),
    "NaN inputs": (
        lambda: covariances(network(), NAN_INPUTS, batch_size=1),
        "inputs hold NaN or infinity: nothing can be measured",
    ),
    "NaN weights": (
        lambda: covariances(with_nan(), INPUTS),
        "parameter '0.weight' holds NaN or infinity: nothing can be measured",
    ),
    "complex weights": (
        lambda: covariances(nn.Linear(3, 2, dtype=torch.cfloat), INPUTS),
        "parameter 'weight' is complex64, and no parameter is real: only real weights are measured",
    ),
    "scripted": (lambda: covariances(torch.jit.script(network()), INPUTS), f"the network is a {SCRIPTED}"),
    "scripted, with a start": (
        lambda: measure(torch.jit.script(network()), INPUTS, initial=network()),
        f"the network is a {SCRIPTED}",
    ),
    "scripted, checked": (lambda: check(torch.jit.script(network()), INPUTS), f"the network is a {SCRIPTED}"),
    "traced inside": (
        lambda: left_out(nn.Sequential(nn.Linear(3, 3), torch.jit.trace(network(), INPUTS)), INPUTS),
        f"module '1' is a {SCRIPTED}",
    ),
    "inference mode": (lambda: in_inference_mode(covariances), INFERENCE),
    "inference mode, with a start": (lambda: in_inference_mode(measure, initial=network()), INFERENCE),
    "inference mode, checked": (lambda: in_inference_mode(check), INFERENCE),
    "no tensors": (
        lambda: covariances(network(), [{"x": INPUTS}]),  # type: ignore[list-item]
        "inputs: a dict, not a tensor: network = nfa.Wrapped(model, lambda model, batch: model(**batch), batch) takes "
        "network.pack(batch)",
    ),
    "triples": (
        lambda: covariances(network(), [(INPUTS, INPUTS, INPUTS)]),
        "inputs: a batch is a tuple, not a tensor or a pair of inputs and targets",
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
    "targets without a loss": (
        lambda: measure(network(), INPUTS, targets=INPUTS),
        f"targets without a loss: pass loss=..., a function or one of {', '.join(LOSSES)}",
    ),
    "unknown loss": (
        lambda: measure(network(), INPUTS, targets=INPUTS, loss="msee"),
        f"loss: 'msee': did you mean 'mse'? valid: {', '.join(sorted(LOSSES))}",
    ),
    "fewer targets": (
        lambda: measure(network(), INPUTS, targets=INPUTS[:3], loss="mse"),
        "5 inputs but 3 targets: one target per sample is needed",
    ),
    "gradient of another shape": (
        lambda: frame(layers_of(network(), INPUTS), gradients={"2": torch.zeros(4, 2)}),
        "gradient of layer '2' has shape (4, 2), not (2, 4)",
    ),
    "update of another shape": (
        lambda: measure(network(), INPUTS, updates={"2": torch.zeros(4, 2)}),
        "update of layer '2' has shape (4, 2), not (2, 4)",
    ),
    "start of another shape": (
        lambda: frame(layers_of(network(), INPUTS), initial={"0": layers_of(network(), INPUTS)["2"]}),
        "initial: layer '0' is (2, 4), not (4, 3)",
    ),
}


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
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


class Tokens(nn.Module):
    """Weights that are used in every way but a product with the samples, and one that is not used."""

    def __init__(self) -> None:
        """Make them."""
        super().__init__()
        self.embed, self.bag = nn.Embedding(5, 4), nn.EmbeddingBag(5, 4)
        self.position = nn.Parameter(torch.randn(3, 4))
        self.table = nn.Parameter(torch.randn(5, 4))
        self.gate = nn.Parameter(torch.randn(1, 4))
        self.norm = nn.LayerNorm((3, 4))
        self.linear, self.idle, self.cut = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.off = nn.Linear(4, 4)
        self.bilinear = nn.Bilinear(4, 4, 4)
        self.transposed = nn.ConvTranspose1d(3, 3, 2)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(5, 4))
        self.hyper = nn.Linear(4, 4)
        self.readout = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 3, 2)."""
        h = self.embed(x) + self.table[x] + self.position + self.bag(x)[:, None]
        h = self.linear(self.norm(h)) * self.gate
        h = h + self.cut(h).detach()
        with torch.no_grad():
            added = self.off(h)
        h = h + added
        h = self.normed(self.transposed(self.bilinear(h, h)))
        return self.readout(h @ self.hyper(self.table[:4]))  # type: ignore[no-any-return]


def test_what_is_left_out_is_named_with_its_reason() -> None:
    model, tokens = Tokens(), torch.randint(5, (6, 3))
    reasons = left_out(model, tokens)
    assert reasons == LEFT_OUT
    assert list(covariances(model, tokens)) == ["linear", "readout"]
    assert measure(model, tokens, layers=["readout"]).attrs["left_out"] == reasons


MULTIPLIES_A_WEIGHT = "it multiplies another weight: the samples meet only the product of the two"
GATHERED = "picked out by a tensor of indices, which makes a copy: w[e] with a whole number e would be measured"
NORMALISED = "weight normalisation: the matrix is computed from it"
LEFT_OUT = {
    "position": "added or multiplied entry by entry: no matrix product",
    "table": f"{GATHERED}; {MULTIPLIES_A_WEIGHT}",
    "gate": "added or multiplied entry by entry: no matrix product",
    "embed": "embedding: its weight is indexed, not multiplied",
    "bag": "embedding: its weight is indexed, not multiplied",
    "norm": "normalisation: its weight multiplies entry by entry",
    "norm.bias": "normalisation: its weight multiplies entry by entry",
    "idle": "not used in the forward pass",
    "cut": "no differentiable path from its product to the output",
    "off": "its product runs where autograd is off (torch.no_grad, a reentrant checkpoint, a detached weight)",
    "bilinear": "bilinear: its weight multiplies two inputs",
    "transposed": (
        "transposed convolution: one position is mapped to a patch, and patches overlap before any pre-activation"
    ),
    "normed.parametrizations.weight.original0": NORMALISED,
    "normed.parametrizations.weight.original1": NORMALISED,
    "hyper": MULTIPLIES_A_WEIGHT,
}


def test_a_lazy_layer_is_left_out_until_it_is_initialised() -> None:
    class Holder(nn.Module):
        """A lazy layer that the forward pass does not reach."""

        def __init__(self) -> None:
            super().__init__()
            self.lazy, self.readout = nn.LazyLinear(4), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.readout(x)  # type: ignore[no-any-return]

    assert left_out(Holder(), INPUTS)["lazy"] == "not initialised: run the network once on a batch first"


def test_the_seed_names_the_rotations() -> None:
    """The control draws from the seed that is given, not from the global random state."""
    layer = layers_of(network(), INPUTS)["0"]
    twice = [measure_layer(layer, seed=seed) for seed in (0, 0, 1)]
    control = [next(row["value"] for row in rows if row["quantity"] == "haar_nfc") for rows in twice]
    assert control[0] == control[1] != control[2]
