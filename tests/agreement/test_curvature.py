"""K against the curvature factors that two public libraries compute from the same network.

The squared error of a sample, summed over outputs, has Hessian 2 I in the outputs. KFAC of type 2 (Martens & Grosse,
arXiv 1503.05671) and KFLR (Botev et al., arXiv 1706.03662) approximate a layer's block of the Gauss-Newton matrix by a
Kronecker product whose factor on the side of the pre-activations is then the sum over samples of 2 J^T J, i.e. 2 n K.
"""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import measure_covariances
from nfa.external.torchvision_import import torchvision
from tests.alignment.comparing import assert_matrix_close

torchvision()  # first: backpack imports it, and may find one that does not load
curvlinops = pytest.importorskip("curvlinops", reason="pip install -c constraints.txt curvlinops-for-pytorch")
backpack = pytest.importorskip("backpack", reason="pip install -c constraints.txt backpack-for-pytorch")

TOLERANCE = 1e-12  # relative to the largest entry of K, in float64
SAMPLES, OUTPUTS = 13, 4


def mlp() -> nn.Sequential:
    """Layers that are wider and narrower than the one before, with and without a bias."""
    hidden = [nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 5, bias=False), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(5, OUTPUTS))


def convolutional() -> nn.Sequential:
    """Convolutions with padding, a stride and a kernel that is not square, with and without a bias."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=2),
        nn.ReLU(),
        nn.Conv2d(4, 3, (2, 3), stride=(1, 2), bias=False),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(18, 7),
        nn.ReLU(),
        nn.Linear(7, OUTPUTS),
    )


def drawn(network: nn.Sequential) -> tuple[nn.Sequential, Tensor]:
    """Give a network in float64, initialised as PyTorch does, and images for it, (SAMPLES, 1, 2, 3)."""
    return network.double(), torch.randn(SAMPLES, 1, 2, 3, dtype=torch.float64)


def kfac(network: nn.Sequential, inputs: Tensor) -> dict[str, Tensor]:
    """Compute the gradient factor of KFAC, type 2, with positions expanded: layer -> (k, k)."""
    operator = curvlinops.KFACLinearOperator(
        network,
        nn.MSELoss(reduction="sum"),
        [module.weight for module in network if isinstance(module, nn.Linear | nn.Conv2d)],
        [(inputs, torch.zeros(len(inputs), OUTPUTS, dtype=inputs.dtype))],
        fisher_type=curvlinops.FisherType.TYPE2,
        kfac_approx=curvlinops.KFACType.EXPAND,
        check_deterministic=False,
    )
    operator.compute_kronecker_factors()
    factors: dict[str, Tensor] = operator.state_dict()["gradient_covariances"]
    return factors


def kflr(network: nn.Sequential, inputs: Tensor) -> dict[str, Tensor]:
    """Compute the first factor of KFLR: layer -> (k, k)."""
    extended = backpack.extend(deepcopy(network))  # which gets hooks
    loss = backpack.extend(nn.MSELoss(reduction="sum"))
    with backpack.backpack(backpack.extensions.KFLR()):
        outputs = extended(inputs.clone().requires_grad_())
        loss(outputs, torch.zeros_like(outputs)).backward()
    return {name: module.weight.kflr[0] for name, module in extended.named_children() if hasattr(module, "weight")}


@pytest.mark.parametrize("make", [mlp, convolutional])
def test_kfac_of_curvlinops_is_twice_n_times_k(make: Callable[[], nn.Sequential]) -> None:
    network, inputs = drawn(make())
    layers = measure_covariances(network, inputs, estimator="exact").layers
    factors = kfac(network, inputs)
    assert factors.keys() == layers.keys()
    for name, layer in layers.items():
        assert_matrix_close(2 * SAMPLES * layer.covariance, factors[name], TOLERANCE, f"K of {name}")


def test_kflr_of_backpack_is_twice_n_times_k() -> None:
    network, inputs = drawn(mlp())
    layers = measure_covariances(network, inputs, estimator="exact").layers
    factors = kflr(network, inputs)
    assert factors.keys() == layers.keys()
    for name, layer in layers.items():
        assert_matrix_close(2 * SAMPLES * layer.covariance, factors[name], TOLERANCE, f"K of {name}")


def test_kflr_of_a_convolution_sums_positions_before_the_product() -> None:
    """It is then 2 n K of a layer that adds one vector to all positions: such a vector is the bias."""
    network, inputs = drawn(convolutional())
    factor = kflr(network, inputs)["0"]
    by_bias = torch.func.jacrev(lambda bias: torch.func.functional_call(network, {"0.bias": bias}, inputs))
    jacobians = by_bias(network[0].bias).flatten(0, 1)  # a row for each sample and output
    assert_matrix_close(2 * jacobians.mT @ jacobians, factor, TOLERANCE)
    covariance = measure_covariances(network, inputs, estimator="exact").layers["0"].covariance
    assert torch.linalg.norm(2 * SAMPLES * covariance - factor) > 0.5 * torch.linalg.norm(factor)
