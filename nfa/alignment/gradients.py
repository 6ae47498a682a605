"""Gradient of the loss with respect to every layer's weights, for the limit t -> 0+ and for FACT."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nfa.alignment.capture import batches
from nfa.alignment.layers import as_matrix, choose_layers
from nfa.alignment.undisturbed import undisturbed


def weight_gradients(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    batch_size: int = 250,
) -> dict[str, Tensor]:
    """Gradient of the mean loss over all samples, dL/dW, for the path through each layer.

    A weight shared by two modules gets one gradient for each of them. The network is in eval mode and is left as it
    was; parameters need not require gradients.

    Args:
        model: The network.
        inputs: (n, *input shape).
        targets: (n, ...).
        loss: (outputs, targets) -> mean loss over the samples it is given, a scalar tensor.
        batch_size: Most samples in one pass.

    Returns:
        Layer name -> (k, d) float64 on the CPU, in order of registration. May hold NaN where the loss overflows.

    Raises:
        ValueError: As ``covariances``, or inputs and targets of different length.
    """
    if len(inputs) != len(targets):
        raise ValueError(f"{len(inputs)} inputs but {len(targets)} targets: one target per sample is needed")
    layers = choose_layers(model, None)
    # Copies stand in for the weights during the passes: the network's own are never asked for gradients.
    copies = {
        layer.parameter_name: layer.module.get_parameter("weight").detach().clone().requires_grad_()
        for layer in layers.values()
    }
    device = next(iter(copies.values())).device
    sums = {name: torch.zeros_like(layer.matrix()) for name, layer in layers.items()}
    done = 0
    with undisturbed(model):
        for batch in batches(inputs, batch_size, device):
            outputs = functional_call(model, copies, (batch.detach().clone(),), tie_weights=False)
            value = loss(outputs, targets[done : done + len(batch)])
            gradients = torch.autograd.grad(value, list(copies.values()), materialize_grads=True, allow_unused=True)
            for name, gradient in zip(layers, gradients, strict=True):
                sums[name] += as_matrix(gradient) * (len(batch) / len(inputs))
            done += len(batch)
    return sums
