"""Data space agrees with parameter space: inputs, residuals and tangent kernel give the values of gradient and K."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.nn import functional

from nfa.alignment import CORRELATIONS, measure_covariances, weight_gradients
from nfa.losses import LOSSES
from nfa.theory.data_space import limit_in_data_space, start_matrices
from nfa.theory.limit import limit


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(build: Any) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().double()  # type: ignore[no-any-return]


class Positions(nn.Module):
    """The mean over positions, (n, c, *positions) -> (n, c)."""

    def forward(self, x: Tensor) -> Tensor:
        """Average over positions."""
        return x.flatten(2).mean(2)


def mlp(outputs: int, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    layers = [nn.Linear(6, 9), activation(), nn.Linear(9, 4), activation(), nn.Linear(4, outputs)]
    return nn.Sequential(OrderedDict((str(i), layer) for i, layer in enumerate(layers)))


NETWORKS = {
    "mlp": (lambda: mlp(1), (6,), ["0", "2", "4"]),
    "relu": (lambda: mlp(1, nn.ReLU), (6,), ["0", "2", "4"]),
    "several outputs": (lambda: mlp(3), (6,), ["0", "2", "4"]),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1), nn.GELU(), nn.Conv2d(5, 4, 2), Positions(), nn.Linear(4, 1)
        ),
        (2, 5, 4),
        ["0", "2", "4"],
    ),
    "tokens": (
        lambda: nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Flatten(), nn.Linear(20, 2)),
        (4, 3),
        ["0", "3"],
    ),
}


def rows_of(model: nn.Sequential, layer: str, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute X, D and J directly: one row per sample, output and position, by perturbing the layer's output."""
    names = [name for name, _ in model.named_children()]
    at = names.index(layer)
    before, module, after = model[:at], model[at], model[at + 1 :]
    entering = before(inputs)
    h = module(entering)
    derivatives = vmap(jacrev(lambda one: after(one[None])[0]))(h)  # (n, C, *h)
    if isinstance(module, nn.Conv2d):
        x = functional.unfold(entering, module.kernel_size, padding=module.padding).mT  # type: ignore[arg-type]  # (n, positions, d)
        j = derivatives.flatten(3).mT  # (n, C, positions, k)
    else:
        x = entering.reshape(len(inputs), -1, entering.shape[-1])
        j = derivatives.reshape(*derivatives.shape[:2], x.shape[1], -1)
    outputs = model(inputs).detach().requires_grad_()
    (residuals,) = torch.autograd.grad(LOSSES["mse"](outputs, targets) * len(inputs), outputs)  # (n, C)
    n, c, p, k = j.shape
    x = x[:, None].expand(n, c, p, -1)
    d = residuals[:, :, None].expand(n, c, p)
    return x.reshape(n * c * p, -1).detach(), d.reshape(-1), j.reshape(n * c * p, k).detach()


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_parameter_space(name: str) -> None:
    build, shape, layers = NETWORKS[name]
    model, inputs = made(build), drawn(20, *shape, seed=1)
    targets = drawn(*model(inputs).shape, seed=2)
    gradients = weight_gradients(model, inputs, targets, LOSSES["mse"])
    measured = measure_covariances(model, inputs).layers
    rows = limit(model, inputs, targets, "mse").query("quantity == 'c_nfc'")
    table = rows.set_index(["layer", "correlation", "power"])["value"]
    for layer in layers:
        x, d, j = rows_of(model, layer, inputs, targets)
        first, second = start_matrices(x, d, j @ j.T, len(inputs))
        velocity, k = gradients[layer], measured[layer].covariance
        for ours, expected in ((first, velocity.T @ velocity), (second, velocity.T @ k @ velocity)):
            assert (ours - expected).abs().max() <= 1e-10 * expected.abs().max(), layer
        for power, exponent in (("1", 1.0), ("1/2", 0.5)):
            found = limit_in_data_space(x, d, j @ j.T, exponent)
            for correlation in CORRELATIONS:
                expected_value = table[layer, correlation, power]
                if expected_value == expected_value:
                    assert found[correlation].value == pytest.approx(
                        expected_value, abs=1e-10 if power == "1" else 1e-8
                    )


def test_a_scalar_output_is_the_formula_in_the_paper_s_terms() -> None:
    """By formulas: f = sum_j a_j tanh(w_j x), kap_ij = sum_j a_j^2 phi'(h_ij) phi'(h_jj'), D = 2 (f - y)."""
    x, w, a, y = drawn(15, 6, seed=1), drawn(8, 6, seed=2), drawn(8, seed=3), drawn(15, seed=4)
    h = x @ w.T
    j = (1 - h.tanh() ** 2) * a
    residual = 2 * (h.tanh() @ a - y)
    first, _ = start_matrices(x, residual, j @ j.T, 15)
    gradient = torch.autograd.functional.jacobian(lambda w: ((x @ w.T).tanh() @ a - y).square().mean(), w)
    torch.testing.assert_close(first, gradient.T @ gradient, rtol=1e-10, atol=1e-14)
