"""Depth law: in deep linear networks W_l^T W_l is the power 1/(L - l + 1) of the AGOP at layer l of L.

The law is exact from balanced initialisation (arXiv 2510.15563): the layers l + 1, ..., L have the singular values of
W_l, so K = (W_L ... W_(l+1))^T (W_L ... W_(l+1)) has their squares to the power L - l along the directions of W_l,
and G = W_l^T K W_l = (W_l^T W_l)^(L - l + 1). In other networks no power need be exact. ``depth_law`` therefore finds
the power that fits best, how well it fits and how sharply it is determined, and shows the law's power beside it.

    table = nfa.theory.depth_law(model, images)     # one row per layer and correlation
"""

from collections.abc import Sequence
from math import nan

import pandas as pd
from torch import nn

from nfa.alignment import LayerCovariance, measure_covariances
from nfa.alignment.network.samples import Inputs
from nfa.alignment.quantities.agop import Agop, Middle
from nfa.alignment.quantities.best_power import best_powers, undefined_power
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.layer import K_ROUNDING
from nfa.alignment.quantities.values import exponents
from nfa.conventions import CORRELATIONS


def law(depth_from_output: int, chain_length: int | None) -> float:
    """Return the power that the law predicts: 1/(L - l + 1) for layer l of a chain of L; NaN in a branching network.

    Args:
        depth_from_output: L - l.
        chain_length: L, or None if the network is not a chain of layers.

    Example:
        >>> law(depth_from_output=2, chain_length=4)
        0.3333333333333333
    """
    return exponents(depth_from_output, chain_length)["depth"]


def depth_law(
    model: nn.Module, inputs: Inputs, *, layers: Sequence[str] | None = None, estimator: str = "auto", seed: int = 0
) -> pd.DataFrame:
    """Find the power of the AGOP that fits the NFM best, for every layer of a network.

    Args:
        model: Any network whose output is a tensor with the samples first; left as it was.
        inputs: (n, *input shape), or an iterable of such batches.
        layers: Names of layers; None for all.
        estimator: Estimator of K, see ``nfa.alignment.measure``. If it sketches, values are those of the mean sketch.
        seed: Seed of the random probes of a sketch.

    Returns:
        One row per layer and correlation: ``layer``, ``layer_index``, ``depth_from_output``, ``correlation``, ``law``
        (1/(L - l + 1), NaN in a branching network), ``power`` (the best from 1/64 to 8), ``fit`` (the correlation at
        this power), ``low`` and ``high`` (the powers around it at which the correlation has fallen by .01),
        ``fit_at_law`` (the correlation at the law's power), ``note`` (why a value is NaN, or that the best power is at
        an end of the range).

    Raises:
        ValueError: ``measure_covariances`` refuses the arguments.
    """
    found = measure_covariances(model, inputs, layers=layers, estimator=estimator, seed=seed).layers
    rows = [row for layer in found.values() for row in _rows(layer)]
    return pd.DataFrame(rows)


def _rows(layer: LayerCovariance) -> list[dict[str, object]]:
    agop = Agop.of(FeatureMatrix(layer.weight), Middle(layer.covariance, layer.resolution))
    known = dict.fromkeys(CORRELATIONS, undefined_power(K_ROUNDING)) if layer.is_rounding else best_powers(agop)
    predicted = law(layer.depth_from_output, layer.chain_length)
    at_law = agop.power_moments(predicted).correlations() if predicted == predicted and not layer.is_rounding else {}
    return [
        {
            "layer": layer.layer,
            "layer_index": layer.index,
            "depth_from_output": layer.depth_from_output,
            "correlation": correlation,
            "law": predicted,
            "power": best.power.value,
            "fit": best.fit.value,
            "low": best.low.value,
            "high": best.high.value,
            "fit_at_law": at_law[correlation].value if at_law else nan,
            "note": best.power.note,
        }
        for correlation, best in known.items()
    ]
