"""The matrices themselves: K of every layer, F and G of one layer, and the weights that are not measured."""

from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.covariance.layer_covariances import measure_covariances
from nfa.alignment.network.fitting import explained
from nfa.alignment.network.layers import checked_device, plain
from nfa.alignment.network.measuring_mode import measuring_mode
from nfa.alignment.network.samples import Inputs, batches, random_states_kept
from nfa.alignment.network.single_sample import record_doubled
from nfa.alignment.network.survey import Survey
from nfa.alignment.network.trial_schedule import BLOCK
from nfa.alignment.quantities.feature_matrix import blocked

LARGEST_SIDE = 16384  # a float64 matrix of this side takes 2 GiB


def covariances(model: nn.Module, inputs: Inputs, **options: Any) -> dict[str, Tensor]:
    """Measure K of every layer.

    Args:
        model: The network.
        inputs: (n, *input shape), or an iterable of such batches.
        **options: Those of ``measure_covariances``: layers, estimator, samples, probes, seed, heads, batch_size.

    Returns:
        Layer name -> K = (1/n) sum_i sum_positions J_i^T J_i, (k, k) float64, or (g, k, k) for g groups; in forward
        order.

    Raises:
        ValueError: For the reasons of ``measure_covariances``.

    Example:
        >>> import nfa, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> {name: tuple(k.shape) for name, k in nfa.covariances(model, torch.randn(20, 6)).items()}
        {'0': (4, 4), '2': (2, 2)}
    """
    found = measure_covariances(model, inputs, **options).layers
    return {name: layer.covariance for name, layer in found.items()}


def matrices(model: nn.Module, inputs: Inputs, layer: str, **options: Any) -> tuple[Tensor, Tensor]:
    """Form the neural feature matrix W^T W and the average gradient outer product W^T K W of one layer.

    Args:
        model: The network.
        inputs: (n, *input shape), or an iterable of such batches.
        layer: Name of the layer.
        **options: Those of ``covariances``.

    Returns:
        NFM and AGOP, (d, d) float64 each, with d the layer's fan-in (c_in * kh * kw of a convolution); for g groups
        they are block-diagonal, (g * d, g * d).

    Raises:
        ValueError: For the reasons of ``measure_covariances``, or because a matrix would have more than 16,384 rows.
    """
    found = measure_covariances(model, inputs, layers=[layer], **options).layers[layer]
    weight, covariance = blocked(found.weight), blocked(found.covariance)
    side = weight.shape[0] * weight.shape[2]
    if side > LARGEST_SIDE:
        raise ValueError(f"layer {layer!r}: matrices of side {side} are not formed; at most {LARGEST_SIDE}")
    return torch.block_diag(*(weight.mT @ weight)), torch.block_diag(*(weight.mT @ covariance @ weight))


@random_states_kept()
def left_out(model: nn.Module, inputs: Inputs) -> dict[str, str]:
    """Name the weights of two or more dimensions that are not measured, with the reasons.

    Args:
        model: The network.
        inputs: (n, *input shape), or an iterable of such batches. A few samples are enough if all samples go through
            the same layers.

    Returns:
        Qualified name of the module that owns the weight (of the parameter, where it is not called ``weight``) ->
        the reason, in plain words.
    """
    model = plain(model)
    survey = Survey(model)
    for batch, _ in batches(inputs, BLOCK, checked_device(model)):
        with explained(model, batch), measuring_mode(model):
            # Two passes at first: the first one may store something that later passes use.
            for part in (batch,) if survey.layers else (batch[:2], batch):
                survey.add(record_doubled(model, part, names=survey.names))
    return survey.left_out()
