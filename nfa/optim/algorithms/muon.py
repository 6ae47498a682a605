"""Muon: momentum, orthogonalised matrix by matrix.

    m <- mu m + (1 - mu) g
    o = the orthogonal factor of m, or of mu m + (1 - mu) g with Nesterov's momentum
    W <- W - lr (s o + lambda W),    s a factor for the size of the matrix

after Jordan et al. (2024, kellerjordan.github.io/posts/muon) and Liu et al. (arXiv 2502.16982). A weight of two or more
dimensions is one matrix (k, d): a convolution's kernel is flattened. The orthogonal factor, U V^T of the singular value
decomposition, is computed by Newton-Schulz iteration, in the precision of the weights. Parameters that are not matrices
are moved by an inner AdamW or SGD.

``nfa/optim/muon.py`` has the settings that a sweep file may give.
"""

from collections.abc import Iterable
from math import inf, sqrt
from typing import Any, Literal

import torch
from torch import Tensor

from nfa.optim.algorithms.base import ParameterwiseOptimizer
from nfa.optim.algorithms.moments import adam_direction
from nfa.optim.algorithms.stacked import axes

# The quintic of the reference: steep at 0, so that five steps bring singular values to 0.7 .. 1.2, not to 1 exactly.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Bring the singular values of each matrix close to 1 and keep its singular vectors, by Newton-Schulz iteration.

    Args:
        matrices: (..., k, d), a batch of matrices. A matrix of zeros stays zero.
        steps: Number of iterations.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / x.abs().amax((-2, -1), keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)  # so that no square underflows
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1.0)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def size_factor(k: int, d: int, adjust: str) -> float:
    """Return the factor on an orthogonal matrix (k, d).

    It is sqrt(max(1, k/d)) for ``original``, and 0.2 sqrt(max(k, d)), which gives steps of AdamW's size, otherwise.
    """
    return sqrt(max(1.0, k / d)) if adjust == "original" else 0.2 * sqrt(max(k, d))


def orthogonal_update(gradient: Tensor, steps: int, adjust: str, *, lead: int = 0) -> Tensor:
    """Return the orthogonal factor of a weight's gradient or momentum, times its size factor.

    Args:
        gradient: Gradient with two or more axes after the leading ones; it is flattened to (k, d).
        steps: Number of iterations.
        adjust: See ``size_factor``.
        lead: Number of leading axes that count independent networks.
    """
    if lead:  # one by one, so that the bits of a network do not depend on the number of networks
        return torch.stack([orthogonal_update(own, steps, adjust, lead=lead - 1) for own in gradient.unbind(0)])
    matrix = gradient.flatten(1)
    k, d = matrix.shape
    return (orthogonalise(matrix, steps) * size_factor(k, d, adjust)).reshape(gradient.shape)


class Muon(ParameterwiseOptimizer):
    """Optimizer with orthogonalised momentum for matrices and an inner AdamW or SGD for all other parameters.

    Args:
        params: Parameters, or groups of them; ``ratio`` is a group's inner learning rate over lr.
        lr: Learning rate of matrices.
        momentum: Decay of the mean of gradients.
        nesterov: Nesterov's momentum.
        weight_decay: Decoupled lambda, for matrices and, with AdamW, for the rest.
        steps: Of the Newton-Schulz iteration.
        adjust: Factor on the orthogonal matrix (k, d): ``original`` sqrt(max(1, k/d)); ``match_rms_adamw``
            0.2 sqrt(max(k, d)).
        inner: What moves the rest: ``adamw``, or ``sgd`` with the same momentum.
        inner_lr: Its learning rate. Whoever schedules sets the group's ``lr`` alone: the rest keeps its ratio to it.
        betas: AdamW's.
        stacked: Axis 0 of every tensor counts independent networks.

    Raises:
        ValueError: A setting out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        *,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        steps: int = 5,
        adjust: Literal["original", "match_rms_adamw"] = "original",
        inner: Literal["adamw", "sgd"] = "adamw",
        inner_lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        stacked: bool = False,
    ) -> None:
        """Check the settings and store them."""
        if not 0 < lr < inf or not 0 <= inner_lr < inf:
            raise ValueError(f"lr, inner_lr: {lr}, {inner_lr} are not step lengths; use more than 0")
        if not all(0 <= decay < 1 for decay in (momentum, *betas)):
            raise ValueError(f"momentum, betas: {momentum}, {betas} must be 0 or more and less than 1")
        if not 0 <= weight_decay < inf:
            raise ValueError(f"weight_decay: {weight_decay} must be 0 or more and finite")
        if adjust not in ("original", "match_rms_adamw") or inner not in ("adamw", "sgd"):
            raise ValueError(f"adjust, inner: {adjust!r}, {inner!r}: see Muon's docstring for those there are")
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "steps": steps,
            "adjust": adjust,
            "inner": inner,
            "ratio": inner_lr / lr,
            "betas": betas,
            "stacked": stacked,
        }
        super().__init__(params, defaults)

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Update a matrix by its orthogonalised momentum, and any other parameter by the inner optimizer."""
        is_matrix = axes(parameter, group["stacked"]) >= 2
        (self._update_matrix if is_matrix else self._update_other)(parameter, gradient, group)

    def _update_matrix(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        mean = self._mean(parameter, gradient, group)
        update = orthogonal_update(mean, group["steps"], group["adjust"], lead=int(group["stacked"]))
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])

    def _update_other(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        lr = group["lr"] * group["ratio"]
        if group["inner"] == "adamw":
            update = adam_direction(self.state[parameter], gradient, group["betas"])
            parameter.mul_(1 - lr * group["weight_decay"]).sub_(update, alpha=lr)
        else:
            parameter.sub_(self._mean(parameter, gradient, group), alpha=lr)

    def _mean(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        """Add a gradient to the momentum; return the direction to follow, Nesterov's where asked for."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        mean: Tensor = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
