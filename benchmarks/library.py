"""The library's side: the same numbers as ``baselines``."""

from typing import Any, Protocol

from torch import Tensor, nn

from nfa.alignment import LayerCovariance, Measured, correlations, measure_covariances
from nfa.alignment.agop import Agop
from nfa.alignment.feature_matrix import FeatureMatrix
from nfa.alignment.sketch import Estimator
from nfa.alignment.values import exponents


class Measurement(Protocol):
    """A network and its samples (n, d) in, numbers out."""

    def __call__(self, model: nn.Sequential, inputs: Tensor) -> Any:
        """Measure."""


def exact(model: nn.Sequential, inputs: Tensor) -> list[float]:
    """UC-NFC of every layer."""
    return numbers(measure_covariances(model, inputs, estimator="exact"))


def sketched(model: nn.Sequential, inputs: Tensor, seed: int = 0) -> list[float]:
    """The same estimated from two reverse passes for each sample."""
    return numbers(measure_covariances(model, inputs, estimator="sketched", seed=seed))


def numbers(measured: Measured) -> list[float]:
    """Pearson's UC-NFC at power 1 of every layer."""
    return [_number(layer) for layer in measured.layers.values()]


def _number(layer: LayerCovariance) -> float:
    if layer.blocks is None:  # exact, or the readout, whose K is known in closed form
        return correlations(layer.weight, layer.covariance)["pearson"].value
    estimator = Estimator.of(layer.blocks, layer.population)
    return estimator.correlations(layer.weight, names=("pearson",))["pearson"].value


def all_powers(model: nn.Sequential, inputs: Tensor) -> list[dict[tuple[str, str], float]]:
    """UC-NFC of every layer in every correlation and power: (correlation, power) -> value."""
    measured = measure_covariances(model, inputs, estimator="exact")
    return [layer_powers(layer) for layer in measured.layers.values()]


def layer_powers(layer: LayerCovariance) -> dict[tuple[str, str], float]:
    """The same of one layer whose K is known."""
    features = FeatureMatrix(layer.weight)
    agop = Agop.of(features, layer.covariance, layer.resolution)
    values = {}
    for power, exponent in exponents(layer.depth_from_output, layer.chain_length).items():
        moments = features.moments(layer.covariance) if exponent == 1 else agop.power_moments(exponent)
        values |= {(name, power): value.value for name, value in moments.correlations().items()}
    return values
