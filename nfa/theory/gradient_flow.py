"""Gradient flow of a whole network on its whole training loss, in float64, with velocity, acceleration and K.

theta' = -grad L(theta) for every parameter that requires a gradient. The unit of time is that of lr * steps of plain
gradient descent on the same loss, in the limit of small lr. The network is in eval mode: BatchNorm uses its running
statistics, and dropout is off.
"""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nfa.alignment.covariance.gradients import BATCH, Loss
from nfa.alignment.covariance.layer_covariances import LayerCovariance, measure_covariances
from nfa.alignment.network.arguments import check_options
from nfa.alignment.network.copies import deep_copy
from nfa.alignment.network.fitting import explained
from nfa.alignment.network.layers import checked_device, parameters_of, plain, refuse_lazy
from nfa.alignment.network.samples import batches
from nfa.alignment.network.survey import survey_layers
from nfa.alignment.targets import find_loss


class GradientFlow:
    """A copy of a network that can be moved along its gradient flow.

    States are vectors of all p trained parameters, (p,) float64.

    Attributes:
        start: theta_0, (p,).
        layers: Layer name -> the place of its matrix among the parameters, in forward order.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        loss: Loss | str,
        *,
        heads: bool = False,
        batch_size: int = BATCH,
    ) -> None:
        """Copy the network to float64; the model itself does not change.

        Args:
            model: Any network that ``nfa.measure`` takes; parameters that require no gradient are not moved.
            inputs: (n, *input shape), the whole training set.
            targets: (n, ...).
            loss: (outputs, targets) -> mean loss over the given samples, a scalar tensor; or the name of a loss of
                ``nfa.losses``.
            heads: Take query, key and value projections apart by head.
            batch_size: Most samples in one pass; it changes time and memory, not the result.

        Raises:
            ValueError: ``nfa.measure`` refuses the arguments, the loss is unknown, or no parameter requires a gradient.
        """
        check_options(heads=heads, batch_size=batch_size)
        for name, value in (("inputs", inputs), ("targets", targets)):
            if not isinstance(value, Tensor) or value.dim() == 0 or len(value) == 0:
                raise ValueError(f"{name}: gradient flow needs all samples at once: pass one tensor (n, ...)")
        model = plain(model)
        refuse_lazy(model)
        self._device = checked_device(model)
        self._network = deep_copy(model).double().eval()
        self._inputs, self._targets = _double(inputs), _double(targets)
        self._loss, self._heads, self._batch_size = find_loss(loss), heads, batch_size
        self._trained = {name: p for name, p in parameters_of(self._network).items() if p.requires_grad}
        if not self._trained:
            raise ValueError("no parameter requires a gradient: nothing is trained")
        self.start = _joined([p.detach() for p in self._trained.values()])
        with explained(self._network, self._inputs):
            every = chain([self._inputs[:2]], self._inputs.split(batch_size))
            self._survey, _ = survey_layers(self._network, every, heads=heads)
        self.layers = self._survey.layers

    def move_to(self, displacement: Tensor) -> None:
        """Set theta = theta_0 + displacement."""
        with torch.no_grad():
            for parameter, values in zip(self._trained.values(), self._split(self.start + displacement), strict=True):
                parameter.copy_(values)

    def velocity(self) -> Tensor:
        """Compute theta' = -grad L at the present parameters."""
        total = torch.zeros_like(self.start)
        parameters = list(self._trained.values())
        for value in self._losses():
            total -= _joined(torch.autograd.grad(value, parameters, materialize_grads=True))
        return total

    def acceleration(self, velocity: Tensor) -> Tensor:
        """Compute theta'' = -H theta' at the present parameters, H the Hessian of L over all trained parameters.

        The product with the Hessian is the gradient of <grad L, theta'> at fixed theta'.
        """
        total = torch.zeros_like(self.start)
        parameters = list(self._trained.values())
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            for value in self._losses():
                gradient = torch.autograd.grad(value, parameters, create_graph=True, materialize_grads=True)
                product = _joined(gradient) @ velocity
                if product.requires_grad:
                    total -= _joined(torch.autograd.grad(product, parameters, materialize_grads=True))
        return total

    def covariances(self) -> dict[str, LayerCovariance]:
        """Compute K of every layer at the present parameters, exactly and over all samples."""
        found = measure_covariances(
            self._network,
            self._inputs,
            estimator="exact",
            heads=self._heads,
            batch_size=self._batch_size,
            like=self._survey,
        )
        return {name: layer for name, layer in found.layers.items() if name in self.layers}

    def covariance_rates(self, velocity: Tensor) -> dict[str, Tensor]:
        """Compute dK/dt at theta_0 by a central difference along theta'; its relative error is 1e-8 in smooth networks.

        If activations have kinks, K jumps when a sample crosses a kink, and a jump would dominate the difference. The
        step is therefore shortened until both halves of the difference agree.

        Returns:
            Layer name -> (k, k) or (g, k, k) float64.
        """
        size = float(self.start.norm()) or 1.0
        unit = size / float(velocity.norm()) if velocity.any() else 1.0
        here = self._covariances_at(torch.zeros_like(self.start))
        rates: dict[str, Tensor] = {}
        # At 1e-6 of the parameters' size, truncation and rounding errors are 1e-10 of K; at 1e-9 rounding is 1e-7.
        for share in (1e-6, 1e-7, 1e-8, 1e-9):
            step = share * unit
            after, before = (self._covariances_at(side * velocity) for side in (step, -step))
            rates = {name: (after[name] - before[name]) / (2 * step) for name in after}
            if all(_smooth(before[name], middle, after[name]) for name, middle in here.items()):
                break
        self.move_to(torch.zeros_like(self.start))
        return rates

    def _covariances_at(self, displacement: Tensor) -> dict[str, Tensor]:
        """Move the network to a displacement, leave it there, and compute K of every layer."""
        self.move_to(displacement)
        return {name: layer.covariance for name, layer in self.covariances().items()}

    def stepped(self, displacement: Tensor, duration: float) -> Tensor:
        """Advance a displacement by one classical Runge-Kutta step of four gradients."""

        def slope(at: Tensor) -> Tensor:
            self.move_to(at)
            return self.velocity()

        first = slope(displacement)
        second = slope(displacement + duration / 2 * first)
        third = slope(displacement + duration / 2 * second)
        fourth = slope(displacement + duration * third)
        return displacement + duration / 6 * (first + 2 * second + 2 * third + fourth)

    def matrices(self, vector: Tensor) -> dict[str, Tensor]:
        """Read the matrix of every layer out of a state, (k, d) or (g, k, d); zero for weights that are not trained."""
        values = {name: torch.zeros_like(p) for name, p in parameters_of(self._network).items()}
        for name, part in zip(self._trained, self._split(vector), strict=True):
            values[name].copy_(part)
        return {name: layer.matrix(values) for name, layer in self.layers.items()}

    def _losses(self) -> Iterator[Tensor]:
        """Yield the part of each batch in the mean loss; the parts sum to L."""
        for batch, target in batches(self._inputs, self._batch_size, self._device, self._targets):
            yield self._loss(self._network(batch), target) * (len(batch) / len(self._inputs))  # type: ignore[arg-type]

    def _split(self, vector: Tensor) -> list[Tensor]:
        """Cut a state into tensors with the shapes of the parameters."""
        parts = vector.split([p.numel() for p in self._trained.values()])
        return [part.view(p.shape) for part, p in zip(parts, self._trained.values(), strict=True)]


def _smooth(before: Tensor, middle: Tensor, after: Tensor) -> bool:
    """Return True if both halves of a short difference agree to 1e-3 of the difference, or to rounding."""
    bend = (after - 2 * middle + before).norm()
    return bool(bend <= 1e-3 * (after - before).norm() + 1e-12 * middle.norm())


def _joined(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Join the entries of tensors to one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _double(values: Tensor) -> Tensor:
    """Convert floating-point numbers to float64; tokens and class labels stay integers."""
    return values.double() if values.is_floating_point() else values
