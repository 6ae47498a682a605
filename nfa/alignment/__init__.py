"""Measure whether a network's weights align with its average gradient outer product: tensors in, tables out.

    import torch
    from torch import nn
    from nfa.alignment import measure

    model = nn.Sequential(nn.Linear(784, 128, bias=False), nn.ReLU(), nn.Linear(128, 10, bias=False))
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    ...                                                  # train
    table = measure(model, images, initial=initial)      # images (n, 784) -> one row per layer, quantity, convention

The idea: a layer multiplies, h = W x. The ansatz says that its neural feature matrix F = W^T W is proportional to a
power of its average gradient outer product G. By the chain rule G = W^T K W, with K the covariance of the
pre-activation tangent features df/dh. So W and K of every layer are enough: F and G are correlated by k x k algebra,
without being formed.

The rooms, each of which imports only those above it:

    network      sees every product of a forward pass, whoever multiplies, and finds W, its place and its name
    covariance   turns reverse passes into K, exactly or by random sketches
    quantities   makes numbers of W and K; the registry of quantities. To add a quantity, go there

The files beside them hold the public functions: ``measure`` (the table), ``check`` (G against torch's own backward),
``monitor`` (a measurement during training), ``matrices`` (K, F and G themselves), ``pictures`` (arrays to draw). Their
arguments are validated and prepared in ``options``, ``targets`` and ``initial``.
"""

from nfa.alignment.check import check
from nfa.alignment.covariance.gradients import Gradients, loss_gradients, weight_gradients
from nfa.alignment.covariance.layer_covariances import LayerCovariance, Measured, measure_covariances
from nfa.alignment.matrices import covariances, left_out, matrices
from nfa.alignment.measure import COLUMNS, frame, limit_rows, measure, measure_layer
from nfa.alignment.monitor import Monitor
from nfa.alignment.network.wrapped import Wrapped
from nfa.alignment.pictures import left_pictures, pictures
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
    "left_pictures",
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
