"""What one would write without this library, each giving pearson's UC-NFC at power 1 of every layer.

one_at_a_time   (layerwise) for each layer the Jacobian of the rest of the network by its input, of all samples at once
all_at_once     (joint) all layers in one pass by zero perturbations of the pre-activations, in batches

Both then form the d x d NFM and AGOP in the network's own number type.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.functional import linear

BATCH = 1024
POWERS = ("1", "1/2", "depth")


def linear_layers(model: nn.Sequential) -> list[nn.Linear]:
    """Layers, from the input to the output."""
    return [module for module in model if isinstance(module, nn.Linear)]


def one_at_a_time(model: nn.Sequential, inputs: Tensor) -> list[float]:
    """Layerwise: UC-NFC of every layer, from all Jacobians (n, C, d) of one layer after the other."""
    values = []
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    modules = list(model)
    with torch.no_grad():
        x = inputs
        for index, module in enumerate(modules):
            if isinstance(module, nn.Linear):
                rest = nn.Sequential(*modules[index:])
                own = {f"{int(name.split('.')[0]) - index}.weight": p for name, p in parameters.items()}
                own = {name: p for name, p in own.items() if not name.startswith("-")}
                jacobians = vmap(jacrev(lambda z, rest=rest, own=own: functional_call(rest, own, (z,))))(x)
                rows = jacobians.flatten(0, 1)
                weight = module.weight.detach()
                values.append(pearson(weight.T @ weight, rows.T @ rows / len(inputs)))
            x = module(x)
    return values


def all_at_once(model: nn.Sequential, inputs: Tensor) -> list[float]:
    """Joint: UC-NFC of every layer, from the Jacobians (batch, C, k) of all layers together."""
    values = []
    for module, covariance in zip(linear_layers(model), covariances(model, inputs), strict=True):
        weight = module.weight.detach()
        values.append(pearson(weight.T @ weight, weight.T @ covariance @ weight))
    return values


def covariances(model: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """K (k, k) of every layer."""
    layers = linear_layers(model)
    weights = [module.weight.detach() for module in layers]

    def perturbed(shifts: list[Tensor], x: Tensor) -> Tensor:
        for index, (weight, shift) in enumerate(zip(weights, shifts, strict=True)):
            x = linear(x, weight) + shift
            x = x.relu() if index < len(weights) - 1 else x
        return x

    zeros = [torch.zeros(len(weight)) for weight in weights]
    totals = [torch.zeros(len(weight), len(weight)) for weight in weights]
    for batch in inputs.split(BATCH):
        for total, jacobians in zip(totals, vmap(jacrev(perturbed), in_dims=(None, 0))(zeros, batch), strict=True):
            rows = jacobians.flatten(0, 1)
            total.addmm_(rows.T, rows)
    return [total / len(inputs) for total in totals]


def pearson(a: Tensor, b: Tensor) -> float:
    """Correlation over all entries of two matrices, which are overwritten."""
    x, y = a.flatten(), b.flatten()
    x -= x.mean()
    y -= y.mean()
    return (x @ y / (x.norm() * y.norm())).item()


def dense_correlations(weight: Tensor, covariance: Tensor, depth_exponent: float) -> dict[tuple[str, str], float]:
    """rho(F, G^s) in three correlations and three powers, from the eigenvectors of the d x d G in float64.

    Args:
        weight: W, (k, d) float64.
        covariance: K, (k, k) float64.
        depth_exponent: The depth-matched power.
    """
    nfm, agop = weight.T @ weight, weight.T @ covariance @ weight
    eigenvalues, vectors = torch.linalg.eigh(agop)
    eigenvalues = eigenvalues.where(eigenvalues > 1e-6 * eigenvalues[-1], 0)
    kept = eigenvalues > 0
    values = {}
    for power, exponent in zip(POWERS, (1.0, 0.5, depth_exponent), strict=True):
        other = agop
        if exponent != 1:
            other = (vectors[:, kept] * eigenvalues[kept] ** exponent) @ vectors[:, kept].T
        off = [matrix - torch.diag(matrix.diagonal()) for matrix in (nfm, other)]
        values["cosine", power] = ((nfm * other).sum() / (nfm.norm() * other.norm())).item()
        values["offdiagonal", power] = _pearson_off_diagonal(*off)
        values["pearson", power] = pearson(nfm.clone(), other.clone())
    return values


def _pearson_off_diagonal(a: Tensor, b: Tensor) -> float:
    """Correlation over the off-diagonal entries of two matrices whose diagonals are zero."""
    count = a.numel() - len(a)
    mean_a, mean_b = a.sum() / count, b.sum() / count
    covariance = (a * b).sum() - count * mean_a * mean_b
    variances = a.square().sum() - count * mean_a**2, b.square().sum() - count * mean_b**2
    return (covariance / (variances[0] * variances[1]).sqrt()).item()
