"""Depth law: W_l^T W_l is the power 1/(L - l + 1) of the AGOP at layer l of L, in deep linear networks.

Exact from balanced initialisation (arXiv 2510.15563): the layers l + 1, ..., L then have the singular values of W_l, so
that K = (W_L ... W_(l+1))^T (W_L ... W_(l+1)) has its squares to the power L - l along W_l's directions, and
G = W_l^T K W_l = (W_l^T W_l)^(L - l + 1). Elsewhere there may be no such power: so the best-fitting one is measured,
with how well it fits and how sharply it is determined, and the law's stands beside it.

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
    """Power that the law predicts: 1/(L - l + 1) for layer l of a chain of L; NaN in a branching network.

    Args:
        depth_from_output: L - l.
        chain_length: L, or None when the network is no chain of layers.
    """
    return exponents(depth_from_output, chain_length)["depth"]


def depth_law(
    model: nn.Module, inputs: Inputs, *, layers: Sequence[str] | None = None, estimator: str = "auto", seed: int = 0
) -> pd.DataFrame:
    """Find the power of the AGOP that fits the NFM best, for every layer of a network.

    Args:
        model: Any network whose output is a tensor with the samples first; left as it was.
        inputs: (n, *input shape), or an iterable of such batches.
        layers: Names of the layers wanted; all when None.
        estimator: Of K, see ``nfa.alignment.measure``. From sketches, values are those of K's mean sketch.
        seed: Names the probes.

    Returns:
        One row per layer and correlation: ``layer``, ``layer_index``, ``depth_from_output``, ``correlation``, ``law``
        (1/(L - l + 1), NaN in a branching network), ``power`` (the best of 1/64 to 8), ``fit`` (the correlation there),
        ``low`` and ``high`` (the powers around it at which that has fallen by .01), ``fit_at_law``, ``note`` (why a
        value is NaN, or that the best power is at an end of the range).

    Raises:
        ValueError: What ``measure_covariances`` refuses.
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
