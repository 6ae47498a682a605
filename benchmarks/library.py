"""The library's side: the same numbers as ``baselines``."""

from typing import Any, Protocol

from torch import Tensor, nn

from nfa.alignment import LayerCovariance, Measured, correlations, measure_covariances
from nfa.alignment.quantities.agop import Agop, Middle
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.sketch import Estimator
from nfa.alignment.quantities.values import exponents

PEARSON = ("pearson",)


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


def sketched_with_errors(model: nn.Sequential, inputs: Tensor, seed: int = 0) -> list[float]:
    """And their standard errors."""
    return numbers(measure_covariances(model, inputs, estimator="sketched", seed=seed), errors=True)


def numbers(measured: Measured, *, errors: bool = False) -> list[float]:
    """Pearson's UC-NFC at power 1 of every layer."""
    layers = measured.layers
    return [_number(layers.pop(name), errors) for name in list(layers)]  # each is let go when it is done


def _number(layer: LayerCovariance, errors: bool) -> float:
    if layer.blocks is None:  # exact, or the readout, whose K is known in closed form
        return correlations(layer.own_weight, layer.covariance, PEARSON)["pearson"].value
    estimator = Estimator.of(layer.blocks, layer.population)
    return estimator.correlations(layer.own_weight, PEARSON, errors=errors)["pearson"].value


def all_powers(model: nn.Sequential, inputs: Tensor) -> list[dict[tuple[str, str], float]]:
    """UC-NFC of every layer in every correlation and power: (correlation, power) -> value."""
    measured = measure_covariances(model, inputs, estimator="exact")
    return [layer_powers(layer) for layer in measured.layers.values()]


def layer_powers(layer: LayerCovariance) -> dict[tuple[str, str], float]:
    """The same of one layer whose K is known."""
    features = FeatureMatrix(layer.weight)
    middle = Middle(layer.covariance, layer.resolution)
    agop = Agop.of(features, middle)
    values = {}
    for power, exponent in exponents(layer.depth_from_output, layer.chain_length).items():
        moments = features.moments(middle.matrix) if exponent == 1 else agop.power_moments(exponent)
        values |= {(name, power): value.value for name, value in moments.correlations().items()}
    return values
