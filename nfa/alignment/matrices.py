"""For someone who wants to look: K of every layer, the two feature matrices of one, and what was left out."""

from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.covariance.measure import measure_covariances
from nfa.alignment.network.fitting import explained
from nfa.alignment.network.guard import BLOCK
from nfa.alignment.network.layers import checked_device, plain
from nfa.alignment.network.paired import record_paired
from nfa.alignment.network.samples import Inputs, batches, random_states_kept
from nfa.alignment.network.survey import Survey
from nfa.alignment.network.undisturbed import undisturbed
from nfa.alignment.quantities.feature_matrix import blocked

LARGEST_SIDE = 16384  # a float64 matrix of this side takes 2 GiB


def covariances(model: nn.Module, inputs: Inputs, **options: Any) -> dict[str, Tensor]:
    """Measure K of every layer.

    Args:
        model: The network.
        inputs: (n, *input shape), or an iterable of such batches.
        **options: As ``measure_covariances``: layers, estimator, samples, probes, seed, heads, batch_size.

    Returns:
        Layer name -> K = (1/n) sum_i sum_positions J_i^T J_i, (k, k) float64, or (g, k, k) for g groups; in forward
        order.

    Raises:
        ValueError: As ``measure_covariances``.
    """
    found = measure_covariances(model, inputs, **options).layers
    return {name: layer.covariance for name, layer in found.items()}


def matrices(model: nn.Module, inputs: Inputs, layer: str, **options: Any) -> tuple[Tensor, Tensor]:
    """Form the neural feature matrix W^T W and the average gradient outer product W^T K W of one layer.

    Args:
        model: The network.
        inputs: (n, *input shape), or an iterable of such batches.
        layer: Its name.
        **options: As ``covariances``.

    Returns:
        NFM and AGOP, (d, d) float64 each, d the layer's fan-in (c_in * kh * kw of a convolution); for g groups
        block-diagonal, (g * d, g * d).

    Raises:
        ValueError: As ``measure_covariances``, or a matrix of more than 16,384 rows.
    """
    found = measure_covariances(model, inputs, layers=[layer], **options).layers[layer]
    weight, covariance = blocked(found.weight), blocked(found.covariance)
    side = weight.shape[0] * weight.shape[2]
    if side > LARGEST_SIDE:
        raise ValueError(f"layer {layer!r}: matrices of side {side} are not formed; at most {LARGEST_SIDE}")
    return torch.block_diag(*(weight.mT @ weight)), torch.block_diag(*(weight.mT @ covariance @ weight))


@random_states_kept()
def left_out(model: nn.Module, inputs: Inputs) -> dict[str, str]:
    """Say which weights of two or more dimensions are not measured, and why.

    Args:
        model: The network.
        inputs: (n, *input shape), or an iterable of such batches. A few samples are enough where all samples go through
            the same layers.

    Returns:
        Qualified name of the module that owns the weight (of the parameter, where it is not called ``weight``) ->
        the reason, in plain words.
    """
    model = plain(model)
    survey = Survey(model)
    for batch, _ in batches(inputs, BLOCK, checked_device(model)):
        with explained(model, batch), undisturbed(model):
            for part in (batch,) if survey.layers else (batch[:2], batch):  # twice: the first pass may store something
                survey.add(record_paired(model, part, names=survey.names))
    return survey.left_out()
