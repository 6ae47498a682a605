"""K, the covariance of the pre-activation tangent features, of every layer in one sweep.

    K = (1/n) sum_i sum_positions J_i^T J_i,    J_i = d f(x_i) / d h    (Beaglehole et al., arXiv 2402.05271)

so that the average gradient outer product of the layer's inputs is G = W^T K W exactly (the chain rule, for the path
through this layer). One forward pass per batch, then one reverse pass per output: the gradients of output c summed over
the batch are per-sample gradients, and all layers get theirs from the same pass.

    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    k = covariances(model, images)["0"].covariance      # images (n, 784) -> (128, 128)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfa.alignment.capture import Recording, batches, record
from nfa.alignment.layers import Layer, choose_layers, left_out, measurable_layers
from nfa.alignment.topology import Topology, topology
from nfa.alignment.undisturbed import undisturbed

DOUBLE = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class LayerCovariance:
    """One measured layer of one network.

    Attributes:
        layer: Qualified module name, e.g. ``hidden.0``.
        index: Place in forward order among the measurable layers, from 0.
        depth_from_output: Layers after it on the longest path to the output; 0 = readout.
        chain_length: Number L of layers when the network is a chain of layers, else None (then the depth-matched power
            is undefined).
        weight: W, (k, d) float64 copy; a convolution's d is c_in * kh * kw.
        covariance: K, (k, k) float64.
        n: Samples.
        outputs: C, outputs of the network.
        resolution: Relative rounding of K: machine epsilon of the number type it was accumulated in.
    """

    layer: str
    index: int
    depth_from_output: int
    chain_length: int | None
    weight: Tensor
    covariance: Tensor
    n: int
    outputs: int
    resolution: float = DOUBLE


def covariances(
    model: nn.Module,
    inputs: Tensor | Iterable[Tensor],
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 250,
) -> dict[str, LayerCovariance]:
    """Measure K of every layer, exactly.

    The network is measured in eval mode and left as it was. Its output must be (n, C), and a sample's outputs must
    depend on that sample alone. Peak memory is that of one batch.

    Args:
        model: Network with Linear or ungrouped Conv2d layers.
        inputs: (n, *input shape), or an iterable of such batches; never changed.
        layers: Names of the layers to measure; all measurable ones when None.
        batch_size: Most samples in one pass; changes the time and memory, not the result.

    Returns:
        Layer name -> its covariance, in forward order.

    Raises:
        ValueError: No measurable layer, an unknown one, one that the forward pass does not call or that does not reach
            the output, zero samples, NaN in weights or inputs, or an output that is not (n, C).
    """
    chosen = choose_layers(model, None if layers is None else list(layers))
    device = next(iter(chosen.values())).module.get_parameter("weight").device
    sums: dict[str, Tensor] = {}
    places: Topology | None = None
    order: list[str] = []
    n = outputs = 0
    resolution = DOUBLE
    with undisturbed(model):
        for batch in batches(inputs, batch_size, device):
            recording = record(model, batch)
            if places is None:
                places = topology(recording, measurable_layers(model).keys() | left_out(model).keys())
                order = list(recording.calls)
                _refuse_unreached(chosen, places)
            for name, part in _tangent_products(chosen, recording).items():
                resolution = max(resolution, torch.finfo(part.dtype).eps)
                double = part.to("cpu", torch.float64)
                sums[name] = sums[name] + double if name in sums else double
            n, outputs = n + len(batch), recording.outputs.shape[1]
    assert places is not None  # batches() raises when there are none
    return {
        name: LayerCovariance(
            layer=name,
            index=order.index(name),
            depth_from_output=places.depth_from_output[name],
            chain_length=places.chain_length,
            weight=chosen[name].matrix(),
            covariance=(sums[name] + sums[name].T) / (2 * n),
            n=n,
            outputs=outputs,
            resolution=resolution,
        )
        for name in order
        if name in chosen
    }


def _refuse_unreached(chosen: dict[str, Layer], places: Topology) -> None:
    """Refuse a layer whose gradient would be zero for want of a path."""
    for name in chosen:
        if name not in places.depth_from_output:
            raise ValueError(
                f"layer {name!r} has no differentiable path to the output, or is not called: "
                "leave it out by naming the others in layers=[...]"
            )


def _tangent_products(layers: dict[str, Layer], recording: Recording) -> dict[str, Tensor]:
    """Sum J_i^T J_i over the samples, positions and calls of one batch.

    Returns:
        Layer name -> (k, k) in the network's number type, or float32 where that is narrower.
    """
    outputs = recording.outputs
    owners = [(layer, h) for name, layer in layers.items() for h in recording.calls.get(name, [])]
    products: dict[str, Tensor] = {}
    direction = torch.zeros_like(outputs)
    last = outputs.shape[1] - 1
    for c in range(last + 1):
        direction.zero_()[:, c] = 1
        gradients = torch.autograd.grad(
            outputs, [h for _, h in owners], direction, retain_graph=c < last, allow_unused=True
        )
        for (layer, _), gradient in zip(owners, gradients, strict=True):
            if gradient is None:  # a call whose result the outputs do not use
                continue
            rows = layer.tangent_rows(gradient)
            rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
            if layer.name not in products:
                products[layer.name] = rows.new_zeros(rows.shape[1], rows.shape[1])
            products[layer.name].addmm_(rows.T, rows)
    return products
