"""Gradient of the loss with respect to every layer's weights, dL/dW.

Two quantities compare weights with it: FACT, and the centred quantities in the limit t -> 0+, where W - W0 under
gradient flow is -t dL/dW. L is the mean loss over all samples, so batch gradients are weighted by their samples. The
layers are those that a measurement of K finds, each read from the gradients of the parameters by its place.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.network.arguments import check_options
from nfa.alignment.network.fitting import explained
from nfa.alignment.network.layers import Layer, checked_device, parameters_of, plain, refuse_lazy
from nfa.alignment.network.measuring_mode import measuring_mode
from nfa.alignment.network.samples import Inputs, batches, random_states_kept
from nfa.alignment.network.single_sample import doubled, record_doubled
from nfa.alignment.network.survey import Survey

Loss = Callable[[Tensor, Tensor], Tensor]
BATCH = 250  # most samples in one pass, where the caller does not say


@dataclass(frozen=True)
class Gradients:
    """Gradients of a loss by all parameters, with the layers that their entries belong to.

    Attributes:
        parameters: Qualified name of a parameter -> its gradient, float64, on the network's device.
        layers: Layer name -> place of its weights, in forward order.
    """

    parameters: dict[str, Tensor]
    layers: dict[str, Layer]

    def matrices(self, tensors: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Read the layers' matrices out of the gradients, or out of other tensors shaped as the parameters.

        Args:
            tensors: Qualified name of every parameter -> a tensor of its shape; None takes the gradients.

        Returns:
            Layer name -> (k, d) or (g, k, d) float64 on the CPU, in forward order.
        """
        chosen = self.parameters if tensors is None else tensors
        return {name: layer.matrix(chosen) for name, layer in self.layers.items()}


def _kind(value: Any) -> str:
    """Describe the value that a loss returned."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"a tensor of shape {tuple(value.shape)}" if value.dim() else "a number without a gradient"


def _outputs(model: nn.Module, batch: Tensor) -> Any:
    """Run a network on samples; a single sample as two copies, if that gives two outputs."""
    if len(batch) == 1:
        try:
            outputs = model(doubled(batch))
            if isinstance(outputs, Tensor) and outputs.dim() > 0 and len(outputs) == 2:
                return outputs[:1]
        except Exception:  # a network that is written for one sample can raise anything
            return model(batch.clone())
    return model(batch.clone())


@random_states_kept()
def check_targets(model: nn.Module, inputs: Inputs, targets: Tensor | None, loss: Loss, *, every: bool) -> None:
    """Refuse targets that do not fit the samples or the loss, before anything long is computed.

    Args:
        model: The network; it is run on two samples.
        inputs: (n, *input shape), or batches in memory.
        targets: (n, ...), or None where the batches hold them.
        loss: (outputs, targets) -> mean loss.
        every: Try the loss on all targets, each with the outputs of one sample; else on those of two samples.

    Raises:
        ValueError: As ``loss_gradients``.
    """
    refuse_lazy(model)
    device = checked_device(model)
    outputs = None
    for batch, target in batches(inputs, BATCH, device, targets):
        if target is None:
            raise ValueError("targets: none given, and the batches hold none")
        if outputs is None:
            with explained(model, batch), measuring_mode(model), torch.no_grad():
                outputs = model(batch[:2].clone())
            if not isinstance(outputs, Tensor) or len(outputs) != len(target[:2]):
                return  # the measurement refuses such outputs
            loss(outputs, target[:2])
        if every:
            loss(outputs[:1].expand(len(target), *outputs.shape[1:]), target)


@random_states_kept()
def loss_gradients(
    model: nn.Module,
    inputs: Inputs,
    targets: Tensor | None,
    loss: Loss,
    *,
    heads: bool = False,
    batch_size: int = BATCH,
    layers: Mapping[str, Layer] | None = None,
) -> Gradients:
    """Compute the gradient of the mean loss over all samples for every parameter.

    Arguments and errors are those of ``weight_gradients``, which returns the same gradients by layer.
    """
    check_options(heads=heads, batch_size=batch_size)
    if not callable(loss):
        raise ValueError(f"loss: {loss!r} is no function of outputs and targets")
    model = plain(model)
    refuse_lazy(model)
    device = checked_device(model)
    survey, n, whole = Survey(model), 0, False
    with measuring_mode(model):
        parameters = {name: p for name, p in parameters_of(model).items() if p.requires_grad}
        sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
        for batch, target in batches(inputs, batch_size, device, targets):
            if target is None:
                raise ValueError("targets: none given, and the batches hold none")
            if layers is None and not n:
                with explained(model, batch):
                    survey.add(record_doubled(model, batch[:2], heads=heads, names=survey.names))
                whole = survey.complete
            if layers is None and not whole:
                survey.add(record_doubled(model, batch, heads=heads, names=survey.names))
            value = loss(_outputs(model, batch.detach()), target)
            if not isinstance(value, Tensor) or value.dim() > 0 or not value.requires_grad:
                raise ValueError(f"loss: gives {_kind(value)}, not one number that autograd follows: the samples' mean")
            gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    sums[name].add_(gradient, alpha=len(batch))
            n += len(batch)
    if layers is None:
        layers = {name: survey.layers[name] for name in survey.order}
    return Gradients({name: total.div_(n) for name, total in sums.items()}, dict(layers))


def weight_gradients(
    model: nn.Module,
    inputs: Inputs,
    targets: Tensor | None,
    loss: Loss,
    *,
    heads: bool = False,
    batch_size: int = BATCH,
    layers: Mapping[str, Layer] | None = None,
) -> dict[str, Tensor]:
    """Compute the gradient of the mean loss over all samples, dL/dW, for every layer.

    The network is run in eval mode and left as it was; parameters need not require gradients. A weight that is used
    more than once has one gradient, the sum over its uses.

    Args:
        model: The network.
        inputs: (n, *input shape), or an iterable of such batches or of (inputs, targets) pairs.
        targets: (n, ...), or None where the batches hold them.
        loss: (outputs, targets) -> mean loss over the samples it is given, a scalar tensor.
        heads: Take query, key and value projections apart by head.
        batch_size: Most samples in one pass.
        layers: The wanted layers, from ``Measured.places``. None finds all layers that any sample goes through, which
            takes one more forward pass over all samples if the first ones do not use all weights.

    Returns:
        Layer name -> (k, d) or (g, k, d) float64 on the CPU, in forward order. May hold NaN where the loss overflows.

    Raises:
        ValueError: As ``measure_covariances``, inputs and targets of different length, or no targets.
    """
    found = loss_gradients(model, inputs, targets, loss, heads=heads, batch_size=batch_size, layers=layers)
    return found.matrices()
