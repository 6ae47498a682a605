"""Small networks, each with its inputs, and a training step taken on them."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nfa.alignment import LayerCovariance, measure_covariances
from nfa.alignment.network.samples import Inputs


@dataclass(frozen=True)
class Case:
    """A network in float64 and what is fed to it."""

    name: str
    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    chain: bool

    def network(self, seed: int = 0) -> nn.Module:
        """Build it with weights drawn from the seed; the global random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build().double()

    def inputs(self, n: int = 24, seed: int = 1) -> Tensor:
        """Draw n samples."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n, *self.input_shape, dtype=torch.float64, generator=generator)


class Residual(nn.Module):
    """A skip connection over one layer; an activation of several operations."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.block, self.readout = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 5) -> (n, 3)."""
        h = self.first(x)
        h = h * torch.sigmoid(h)
        return self.readout(h + torch.tanh(self.block(h)))  # type: ignore[no-any-return]


class Repeated(nn.Module):
    """One module called twice, and a per-position layer on a sequence."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.token, self.shared, self.readout = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, positions, 3) -> (n, 2)."""
        h = functional.relu(self.token(x), inplace=True)
        for _ in range(2):
            h = torch.tanh(self.shared(h))
        return self.readout(h.mean(1))  # type: ignore[no-any-return]


CASES = [
    Case(
        "mlp",  # k > d, then k < d
        lambda: nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 3)),
        (4,),
        chain=True,
    ),
    Case(
        "inplace",
        lambda: nn.Sequential(
            nn.ReLU(inplace=True), nn.Linear(7, 6), nn.ReLU(inplace=True), nn.BatchNorm1d(6), nn.Linear(6, 3)
        ),
        (7,),
        chain=True,
    ),
    Case(
        "conv",
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 5, (2, 1), padding=1, dilation=2, bias=False),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(100, 3),
        ),
        (2, 7, 6),
        chain=True,
    ),
    Case("residual", Residual, (5,), chain=False),
    Case("repeated", Repeated, (4, 3), chain=False),
    Case(
        "grouped",  # W and K are blocks
        lambda: nn.Sequential(
            nn.Conv1d(4, 6, 3, groups=2), nn.Tanh(), nn.Conv1d(6, 6, 2, groups=3), nn.Flatten(), nn.Linear(24, 3)
        ),
        (4, 7),
        chain=True,
    ),
]


def layers_of(model: nn.Module, inputs: Inputs, **options: Any) -> dict[str, LayerCovariance]:
    """Measure W and K of every layer."""
    return measure_covariances(model, inputs, **options).layers


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples and outputs."""
    return (outputs - targets).square().mean()


def trained(model: nn.Module, inputs: Tensor, steps: int = 3, lr: float = 0.2) -> nn.Module:
    """Take gradient steps on a copy, towards targets that are a fixed nonlinear function of the inputs."""
    network = deepcopy(model).eval()
    targets = targets_for(network, inputs)
    for _ in range(steps):
        network.zero_grad()
        squared_error(network(inputs.clone()), targets).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                assert parameter.grad is not None
                parameter.sub_(parameter.grad, alpha=lr)
    network.zero_grad()
    return network


def targets_for(model: nn.Module, inputs: Tensor) -> Tensor:
    """Targets (n, C) of unit size."""
    with torch.no_grad():
        outputs = model(inputs.clone()).shape[1]
    flat = inputs.flatten(1)
    return torch.stack([torch.sin((c + 1) * flat.sum(1)) for c in range(outputs)], dim=1)
