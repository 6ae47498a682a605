"""One layer with everything that its quantities share, each part computed when the first quantity asks for it.

Quantities have much in common: the decomposition of K, that of G = W^T K W, the change of the weights. Each is a cached
attribute of ``LayerContext`` here, or, where only one family of quantities needs it, a function of the layer that
``LayerContext.once`` remembers. So a quantity that nobody asks for costs nothing, and none is computed twice.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from nfa.alignment.covariance.blocks import Blocks
from nfa.alignment.covariance.layer_covariances import LayerCovariance
from nfa.alignment.network.layers import without_single_block
from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.agop import Agop, Middle
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.sketch import Estimator
from nfa.alignment.quantities.split import LeftBasis, tie_width
from nfa.alignment.quantities.values import Values, exponents

Result = TypeVar("Result")

GRADIENT_FLOW = reason("limit t -> 0+, gradient flow")
RULE_FLOW = reason("limit t -> 0+, flow of the learning rule")
OVERFLOW = reason("K is not finite: the network overflows")
K_ROUNDING = reason(
    "K cannot be told from rounding in the network's number type: the true gradient at this layer is zero, or the "
    "network magnifies rounding"
)


@dataclass(frozen=True)
class Reference:
    """The tensors that a layer is compared with; a quantity that needs one that is None is undefined.

    Attributes:
        initial_weight: W0, (k, d).
        initial_covariance: K0, (k, k).
        initial_blocks: K0 in blocks of the same samples and probes, where K is sketched.
        gradient: dL/dW of the mean loss on the whole training set, (k, d).
        instead: The matrix that a learning rule uses in place of dL/dW, (k, d); None for backpropagation.
        update: Direction of the optimizer's first full-batch update, up to a positive factor, (k, d).
        weight_decay: lambda, coupled as in torch's ``weight_decay``.
        decoupled_decay: lambda of a decay that is decoupled, as AdamW's is.
    """

    initial_weight: Tensor | None = None
    initial_covariance: Tensor | None = None
    initial_blocks: Blocks | None = None
    gradient: Tensor | None = None
    instead: Tensor | None = None
    update: Tensor | None = None
    weight_decay: float = 0.0
    decoupled_decay: float = 0.0

    @property
    def flow(self) -> tuple[Tensor | None, str]:
        """Velocity of the weights at initialisation when steps are infinitely small, and the note that names it."""
        descent, note = (self.gradient, GRADIENT_FLOW) if self.instead is None else (self.instead, RULE_FLOW)
        return None if descent is None else -descent, note


class LayerWeights:
    """W and its change, with decompositions that do not depend on K and so serve every estimate of K."""

    def __init__(self, weight: Tensor, initial: Tensor | None, own: Tensor) -> None:
        """Take W and W0, (k, d) or (g, k, d) float64, and W in its own number type."""
        self.weight, self._initial, self._own = weight, initial, own

    @cached_property
    def features(self) -> FeatureMatrix:
        """F = W^T W."""
        return FeatureMatrix(self.weight)

    @cached_property
    def tie_width(self) -> float:
        """Distance of two singular values of W, or of its change, that rounding of W may have parted."""
        return tie_width(self._own)

    @cached_property
    def left_basis(self) -> LeftBasis:
        """The left singular basis of W."""
        return LeftBasis(self.features, self.tie_width)

    @cached_property
    def change(self) -> Tensor | None:
        """W - W0; None where no initial weights are given."""
        return None if self._initial is None else self.weight - self._initial

    @cached_property
    def change_features(self) -> FeatureMatrix:
        """The feature matrix of the change, (W - W0)^T (W - W0)."""
        assert self.change is not None
        return FeatureMatrix(self.change)


class LayerContext:
    """A layer as its quantities see it: W, K, the reference, and cached results.

    Attributes:
        current: W and K, and the layer's place in the network.
        reference: W0, K0, gradient and update; tensors as ``weight``, float64 on the CPU.
        seed: Seed of everything that a quantity draws at random.
    """

    def __init__(
        self, current: LayerCovariance, reference: Reference, seed: int, weights: LayerWeights | None = None
    ) -> None:
        """Take the tensors, and what is known of the weights; nothing is computed yet."""
        self.current, self.reference, self.seed = current, reference, seed
        self.weights = weights or LayerWeights(current.weight, reference.initial_weight, current.own_weight)
        self._remembered: dict[tuple[Any, ...], Any] = {}

    def once(self, function: Callable[..., Result], *arguments: Hashable) -> Result:
        """Call a function of this layer and further arguments, or return the result of an earlier call."""
        key = (function, *arguments)
        if key not in self._remembered:
            self._remembered[key] = function(self, *arguments)
        result: Result = self._remembered[key]
        return result

    @property
    def weight(self) -> Tensor:
        """W, (k, d) or (g, k, d) float64."""
        return self.current.weight

    @property
    def covariance(self) -> Tensor:
        """K, (k, k) or (g, k, k) float64."""
        return self.current.covariance

    @cached_property
    def no_covariance(self) -> str:
        """The reason why K cannot be used; empty where it can."""
        if not torch.isfinite(self.covariance).all():
            return OVERFLOW
        return K_ROUNDING if self.current.is_rounding else ""

    @cached_property
    def powers(self) -> dict[str, float]:
        """Power name -> exponent at this layer, without a depth-matched power where the network is no chain."""
        every = exponents(self.current.depth_from_output, self.current.chain_length)
        return {power: exponent for power, exponent in every.items() if exponent == exponent}

    @property
    def is_readout(self) -> bool:
        """True if h is the network's output."""
        return self.current.depth_from_output == 0

    @property
    def features(self) -> FeatureMatrix:
        """F = W^T W."""
        return self.weights.features

    @property
    def tie_width(self) -> float:
        """Distance of two singular values of W, or of its change, that rounding of W may have parted."""
        return self.weights.tie_width

    @property
    def left_basis(self) -> LeftBasis:
        """The left singular basis of W."""
        return self.weights.left_basis

    @property
    def change(self) -> Tensor | None:
        """W - W0; None where no initial weights are given."""
        return self.weights.change

    @property
    def change_features(self) -> FeatureMatrix:
        """The feature matrix of the change, (W - W0)^T (W - W0)."""
        return self.weights.change_features

    @cached_property
    def middle(self) -> Middle:
        """K and its decomposition."""
        return Middle(self.covariance, self.current.resolution)

    @cached_property
    def agop(self) -> Agop:
        """G = W^T K W, decomposed."""
        return Agop.of(self.features, self.middle)

    @cached_property
    def at_start(self) -> bool:
        """True if W equals W0."""
        return self.change is not None and not bool(self.change.any())

    @cached_property
    def estimator(self) -> Estimator:
        """K in blocks of samples, for correlations at power 1 with standard errors."""
        assert self.current.blocks is not None
        return Estimator.of(self.current.blocks, self.current.population)

    def unbiased(self, weight: Tensor | None) -> Values | None:
        """Correlate V^T V with V^T K V without bias, V given in place of W; None where there is no V."""
        if weight is None:
            return None
        return {(name, "1"): value for name, value in self.estimator.correlations(weight).items()}

    def anew(self) -> "LayerContext":
        """Return the same layer without cached results of K, which are large and are freed with the copy."""
        return LayerContext(self.current, self.reference, self.seed, self.weights)

    def halves(self) -> Iterator["LayerContext"]:
        """Give the layer with each of the two sketches of K, and of K0, in place of their mean."""
        assert self.current.blocks is not None
        blocks = self.reference.initial_blocks
        starts = (None, None) if blocks is None else blocks.means()
        for total, start in zip(self.current.blocks.totals(), starts, strict=True):
            yield LayerContext(
                replace(self.current, total=total, rounding=0.0),
                replace(self.reference, initial_covariance=None if start is None else without_single_block(start)),
                self.seed,
                self.weights,
            )
