"""Do a network's weights align with its average gradient outer product? Tensors in, tables out.

    import torch
    from torch import nn
    from nfa.alignment import measure

    model = nn.Sequential(nn.Linear(784, 128, bias=False), nn.ReLU(), nn.Linear(128, 10, bias=False))
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    ...                                                  # train
    table = measure(model, images, initial=initial)      # images (n, 784) -> one row per layer, quantity, convention

How it is laid out: ``interception`` sees every product of a forward pass, ``operations`` reads it as h = W x,
``capture`` makes layers of them, ``topology`` finds their places, ``covariance`` and ``passes`` turn reverse passes
into K, ``feature_matrix`` and ``agop`` correlate W^T W with powers of W^T K W in k-space, ``sketch`` does so with error
bars, ``quantities`` names what is reported, ``table`` writes it down.
"""

from nfa.alignment.check import check
from nfa.alignment.covariance.gradients import Gradients, loss_gradients, weight_gradients
from nfa.alignment.covariance.measure import LayerCovariance, Measured, measure_covariances
from nfa.alignment.matrices import covariances, left_out, matrices
from nfa.alignment.measure import COLUMNS, frame, limit_rows, measure, measure_layer
from nfa.alignment.monitor import Monitor
from nfa.alignment.network.wrapped import Wrapped
from nfa.alignment.pictures import pictures
from nfa.alignment.quantities.agop import power_middle
from nfa.alignment.quantities.feature_matrix import correlations
from nfa.alignment.quantities.values import Value
from nfa.conventions import CORRELATIONS, POWERS

__all__ = [
    "COLUMNS",
    "CORRELATIONS",
    "POWERS",
    "Gradients",
    "LayerCovariance",
    "Measured",
    "Monitor",
    "Value",
    "Wrapped",
    "check",
    "correlations",
    "covariances",
    "frame",
    "left_out",
    "limit_rows",
    "loss_gradients",
    "matrices",
    "measure",
    "measure_covariances",
    "measure_layer",
    "pictures",
    "power_middle",
    "weight_gradients",
]
