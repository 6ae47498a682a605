"""Check on the user's own network that W^T K W is the average gradient outer product of every layer.

    print(nfa.check(model, images))

By the chain rule the two are equal for every product h = W x that autograd follows. A row that fails means that this
package read a product wrongly: please report it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from nfa.alignment.covariance.direct_agop import DirectLayer, direct_agop
from nfa.alignment.covariance.layer_covariances import LayerCovariance, measure_covariances
from nfa.alignment.network.arguments import check_options, checked_layers
from nfa.alignment.network.copies import deep_copy
from nfa.alignment.network.fitting import explained
from nfa.alignment.network.layers import checked_device, plain
from nfa.alignment.network.reasons import reason
from nfa.alignment.network.samples import Inputs, drawn
from nfa.alignment.network.trial import DRAWN, UNSTEADY
from nfa.alignment.quantities.feature_matrix import blocked
from nfa.alignment.quantities.layer import K_ROUNDING
from nfa.alignment.quantities.weights import WEIGHT_ZERO
from nfa.random import torch_generator

COLUMNS = ("layer", "layer_index", "shape", "error", "compared", "passed", "note")
# The error is about 1e-12 in float64 and 1e-7 for a network that computes in float32 somewhere inside. A product that
# is missing, counted twice or read in the wrong rows gives an error that is far larger.
TOLERANCE = 1e-6
# Whole matrices are compared up to this side. Beyond it their products would take most of the time, and any error shows
# along random directions as well.
LARGEST_SIDE = 512
DIRECTIONS = 4
OUTPUTS = 16  # outputs differentiated; each takes one reverse pass per sample

SINGLE_TOLERANCE = 1e-3  # for networks that run in float32 only, whose rounding grows with depth
NO_FLOAT64 = reason("in float32: an operation of the network does not run in float64")

K_ZERO = reason("K is zero: no gradient reaches this layer on these samples")
NOT_ALONE = reason("another product where a sample comes alone")
FEW_OUTPUTS = reason("{few} of {total} outputs")
TWO_DRAWS = reason(
    "the forward pass draws random numbers, other ones for each of the two sides: they cannot be compared"
)


def check(
    model: nn.Module,
    inputs: Inputs,
    *,
    layers: Sequence[str] | None = None,
    heads: bool = False,
    samples: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare W^T K W with the average gradient outer product, computed independently, at every layer.

    Both are computed on a copy of the network, in float64. Where one of its operations has no float64, its own number
    type is used, and a note says so. During the call ``torch.set_default_dtype`` is float64, for tensors that the
    network makes. K comes from this library, on all samples at once. The other side comes from torch's own backward of
    every product, sample by sample (each beside a copy of itself), output by output.

    Args:
        model: The network; it is not changed.
        inputs: (n, *input shape), or an iterable of such batches; ``samples`` of them are drawn at random.
        layers: Names of the layers to check; all when None.
        heads: Split query, key and value projections by head.
        samples: Number of samples to check on.
        seed: Seed of the samples drawn and of the random directions.

    Returns:
        One row per layer in forward order, with columns layer, layer_index, shape (of W: k x d, or g x k x d in g
        groups), error (relative, in the Frobenius norm), compared ("matrix"; where d is more than 512 "4 random
        directions": G u is compared for four random u), passed (error below 1e-6, or 1e-3 in float32), note (which use
        of a weight K leaves out). A layer whose gradient is zero up to rounding, and a network that draws random
        numbers, cannot be compared: error is NaN, passed is false, and note gives the reason. Of more than 16 outputs
        per sample, 16 evenly spaced ones are differentiated, and ``note`` says so. ``frame.attrs["left_out"]`` maps
        each weight of two or more dimensions that is not measured to the reason.

    Raises:
        ValueError: For the reasons of ``measure``, or because the network does not run on these inputs.

    Example:
        >>> import nfa, torch
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> nfa.check(model, torch.randn(20, 6))[["layer", "shape", "passed"]].values.tolist()
        [['0', '4 x 6', True], ['2', '2 x 4', True]]
    """
    check_options(samples=samples, seed=seed, heads=heads)
    layers = checked_layers(layers)
    model = plain(model)
    device = checked_device(model)
    given, _ = drawn(inputs, samples, seed)
    if given.device != device:
        raise ValueError(f"inputs are on {given.device}, the network on {device}: move one of them")
    like = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    generator = torch_generator("check", seed)
    use_float64 = True
    while True:
        few = _FewOutputs()
        network = deep_copy(model)
        network = _in_float64(network) if use_float64 else network
        chosen = given.double() if use_float64 and given.is_floating_point() else given
        network.register_forward_hook(few)
        try:  # errors about samples name the number type that the user gave, not float64
            with (
                explained(model, given.to(like) if given.is_floating_point() else given),
                _default_float64(use_float64),
                torch.autocast(chosen.device.type, enabled=False),
            ):
                measured = measure_covariances(network, chosen, layers=layers, estimator="exact", heads=heads)
                names = None if measured.survey is None else measured.survey.names
                directions = {name: _directions(found, generator) for name, found in measured.layers.items()}
                direct = direct_agop(network, chosen, directions, heads=heads, names=names)
            break
        except (RuntimeError, TypeError, LookupError) as error:
            if use_float64 and "double" in str(error).lower():  # an operation without float64, or bound to float32
                use_float64 = False
                continue
            cause = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise ValueError(
                f"check: the network does not run on these inputs in float64, with autograd: {cause}"
            ) from error
    note = few.note if use_float64 else "; ".join(filter(None, (few.note, NO_FLOAT64)))
    tolerance = TOLERANCE if use_float64 else SINGLE_TOLERANCE
    rows = [
        {
            "layer": name,
            "layer_index": found.index,
            "shape": " x ".join(map(str, found.weight.shape)),
            **_compare(found, direct.get(name), directions[name], note, tolerance),
        }
        for name, found in measured.layers.items()
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs["left_out"] = measured.left_out
    return table


@contextmanager
def _default_float64(use_float64: bool) -> Iterator[None]:
    """Make float64 the default number type of new tensors, if ``use_float64``."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if use_float64 else default)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def _in_float64(network: nn.Module) -> nn.Module:
    """Convert everything that a network holds to float64, including tensors that are plain attributes."""
    for module in network.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.is_floating_point():
                vars(module)[name] = value.double()
    return network.double()


class _FewOutputs:
    """A forward hook that keeps a few evenly spaced outputs, and says so in ``note``.

    Where a sample comes alone and the network's ``squeeze()`` removes the axis of samples, the hook restores it.
    """

    def __init__(self) -> None:
        """Start with an empty note."""
        self.note = ""
        self._shape: torch.Size | None = None  # of one sample's outputs

    def __call__(self, _module: nn.Module, given: tuple[Any, ...], outputs: Any) -> Any:
        """Return the outputs that are compared, with the axis of samples."""
        if not isinstance(outputs, Tensor) or not given or not isinstance(given[0], Tensor):
            return outputs  # the measurement refuses it, with a message of its own
        n = len(given[0])
        if n == 1 and (outputs.dim() == 0 or outputs.shape == self._shape):
            outputs = outputs[None]
        if outputs.dim() == 0 or len(outputs) != n:
            return outputs
        if n > 1:
            self._shape = outputs.shape[1:]
        total = outputs[0].numel()
        if total <= OUTPUTS:
            return outputs
        self.note = FEW_OUTPUTS.format(few=OUTPUTS, total=f"{total:,}")
        places = torch.linspace(0, total - 1, OUTPUTS, dtype=torch.float64, device=outputs.device).long()
        return outputs.flatten(1)[:, places]


def _directions(found: LayerCovariance, generator: torch.Generator) -> Tensor | None:
    """Draw random directions (g, d, 4) for a layer whose matrices would be too large; None for any other."""
    g, _, d = blocked(found.weight).shape
    if d <= LARGEST_SIDE:
        return None
    return torch.randn(g, d, DIRECTIONS, dtype=torch.float64, generator=generator)


def _compare(
    found: LayerCovariance, direct: DirectLayer | None, directions: Tensor | None, note: str, tolerance: float
) -> dict[str, Any]:
    """Compare W^T K W with G, or W^T K W u with G u for given directions u."""
    weight = blocked(found.weight)
    product = weight.mT @ (blocked(found.covariance) @ (weight if directions is None else weight @ directions))
    notes = [text for text in (note, found.note) if text]
    error = float("nan")
    if DRAWN in found.remarks:
        notes.append(TWO_DRAWS)
    elif UNSTEADY in found.remarks:
        notes.append(UNSTEADY)
    elif found.is_rounding:
        notes.append(K_ROUNDING)
    elif direct is None or direct.agop.shape != product.shape:
        notes.append(NOT_ALONE)
    elif not direct.agop.any() and not product.any():
        notes.append(WEIGHT_ZERO if found.covariance.any() else K_ZERO)
        error = 0.0
    else:
        difference = (product - direct.agop).norm() / torch.maximum(direct.agop.norm(), product.norm())
        error = max(difference.item(), direct.mismatch)
    return {
        "error": error,
        "compared": "matrix" if directions is None else f"{DIRECTIONS} random directions",
        "passed": error < tolerance,
        "note": "; ".join(notes),
    }
