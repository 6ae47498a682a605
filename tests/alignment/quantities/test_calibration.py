"""Standard errors are calibrated: over many seeds the exact value lies within two of them as often as it should.

Three networks of more than two outputs, untrained and trained; two targets: these samples (from sketches), and the
whole data set from some of its samples (exact and sketched). Counts are over seeds and hidden layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import correlations, measure_covariances
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.sketch import Estimator
from nfa.alignment.quantities.sketched_split import unbiased_split
from nfa.alignment.quantities.split import FACTORS, LeftBasis, split, tie_width

# Every case has 200 or more pairs of an independent draw and a hidden layer: were the layers independent as well, the
# share of right error bars, 0.954, would have a standard deviation of 0.015 or less, and the mean error one of 0.07.
PAIRS, FEWEST_SEEDS = 200, 50
ALL, DRAWN = 1200, 300


class Transformer(nn.Module):
    """One encoder layer on five tokens."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.embed, self.readout = nn.Linear(6, 16), nn.Linear(16, 4)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 5, 6) -> (n, 4)."""
        return self.readout(self.encoder(self.embed(x)).mean(1))  # type: ignore[no-any-return]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(108, 5),
    )


@dataclass(frozen=True)
class Network:
    """A network, and the shape of its samples."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]


NETWORKS = {
    "mlp": Network(mlp, (20,)),
    "conv": Network(conv, (2, 8, 8)),
    "transformer": Network(Transformer, (5, 6)),
}
TARGETS: dict[str, tuple[int, dict[str, object]]] = {
    "these samples": (400, {"estimator": "sketched"}),
    "all samples, exact": (ALL, {"estimator": "exact", "samples": DRAWN}),
    "all samples, sketched": (ALL, {"estimator": "sketched", "samples": DRAWN}),
}


@cache
def prepared(network: Network, trained: bool) -> tuple[nn.Module, Tensor]:
    """The network, trained or not, and its whole data set."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network.build()
        inputs = torch.randn(ALL, *network.shape) * torch.linspace(0.3, 1.7, network.shape[-1])
    with torch.no_grad():
        outputs = model(inputs[:1]).shape[1]
    total = inputs.flatten(1)[:, :3].sum(1)
    targets = torch.stack([torch.sin((c + 1) * total) for c in range(outputs)], 1)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150 if trained else 0):
        optimizer.zero_grad()
        (model(inputs) - targets).square().mean().backward()
        optimizer.step()
    return model, inputs


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("trained", [False, True], ids=["untrained", "trained"])
@pytest.mark.parametrize("network", NETWORKS)
def test_two_standard_errors_hold_the_truth(network: str, trained: bool, target: str) -> None:
    model, inputs = prepared(NETWORKS[network], trained)
    count, options = TARGETS[target]
    inputs = inputs[:count]
    truth = {
        name: correlations(layer.weight, layer.covariance)
        | split(LeftBasis(FeatureMatrix(layer.weight), tie_width(layer.own_weight)), layer.covariance)
        for name, layer in measure_covariances(model, inputs, estimator="exact").layers.items()
        if layer.depth_from_output > 0
    }
    within: dict[str, list[bool]] = {name: [] for name in ("cosine", "pearson", *FACTORS)}
    errors: dict[str, list[float]] = {name: [] for name in within}
    for seed in range(max(FEWEST_SEEDS, PAIRS // len(truth))):
        found = measure_covariances(model, inputs, seed=seed, **options).layers  # type: ignore[arg-type]
        for name, exact in truth.items():
            blocks = found[name].blocks
            assert blocks is not None
            estimate, weight = Estimator.of(blocks, found[name].population), found[name].weight
            factors = unbiased_split(estimate, weight, tie_width(found[name].own_weight))
            for correlation, value in (estimate.correlations(weight, ("cosine", "pearson")) | factors).items():
                off = value.value - exact[correlation].value
                within[correlation].append(abs(off) <= 2 * value.stderr)
                errors[correlation].append(off / value.stderr)
    for correlation, hits in within.items():
        share = sum(hits) / len(hits)
        bias = sum(errors[correlation]) / len(hits)
        print(f"{network}, trained {trained}, {target}, {correlation}: {share:.3f}, bias {bias:+.2f}")
        assert 0.90 <= share <= 0.99, f"{correlation}: the truth is within two standard errors in {share:.3f} of cases"
        assert abs(bias) < 0.5, f"{correlation}: off by {bias:.2f} standard errors on average"
