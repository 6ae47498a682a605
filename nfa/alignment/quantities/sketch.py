"""Correlations at power 1 from blocks of samples, without the bias of squared noise, and with standard errors.

Noise in K inflates |G|^2 = tr(K S K S) and would lower every correlation. With two independent sketches of the same
samples, <G1, G2> = tr(K1 S K2 S) is unbiased. The numerator is treated in the same way: a correlation is the root of
<F, G1><F, G2> / (|F|^2 <G1, G2>), in which noise that only scales a sketch cancels exactly [derived].

There are two targets. *These samples*: the noise is that of the probes. A correlation is linearised,
d rho = <Gamma, dK>; the two sketches of a block differ by noise of four times the variance of their mean, so that

    stderr^2 = (1 / 4 n^2) sum over blocks of <Gamma, S1_b - S2_b>^2          (S_b sums of K_i over a block)

*The whole data set* of N samples, from n samples drawn at random: every form that is quadratic in K takes its
finite-population form,

    |K_N|^2 = M1 / N + (1 - 1/N) M2,   M1 = mean |K_i|^2,   M2 = mean over i != j of <K_i, K_j>

with M2 from pairs of different blocks and M1 from |K_n|^2 = M1 / n + (1 - 1/n) M2, so that n = N gives the value of
these samples. The squared error is (1 - n/N) times that of the linearised jackknife over blocks, plus n/N times that of
the probes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign, nan, sqrt

import torch
from torch import Tensor

from nfa.alignment.covariance.blocks import Blocks
from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.correlation import (
    EQUAL,
    EQUAL_OFF_DIAGONAL,
    NEGLIGIBLE,
    NFM_ZERO,
    NO_OFF_DIAGONAL,
    bounded,
)
from nfa.alignment.quantities.feature_matrix import largest
from nfa.alignment.quantities.sketch_forms import AllEntries, Forms, OffDiagonalEntries
from nfa.alignment.quantities.values import Value, undefined
from nfa.conventions import CORRELATIONS

FEW_BLOCKS = 5  # with fewer blocks an error bar would itself be mostly noise
AGREEMENT = 2 / 3  # products of the two sketches within a factor of two; else their mean is used, not their root
EXTREME_ENTRY = 1e9  # largest entry of K, or its inverse, whose fourth power float32 surely holds
SMALL_VARIANCE = 1e-2  # share of the squares below which a variance is computed in float64
TOO_FEW = reason(f"fewer than {FEW_BLOCKS} blocks of samples: no standard error")


@dataclass(frozen=True)
class Estimator:
    """K of one layer in blocks of samples, to be correlated with any W.

    Attributes:
        blocks: The blocks.
        population: N where the target is the whole data set, else None.
        first: K by the first sketch, (g, k, k), in the number type in which it was measured.
        second: K by the second sketch, shaped as ``first``.
    """

    blocks: Blocks
    population: int | None
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, blocks: Blocks, population: int | None) -> "Estimator":
        """Sum over the blocks."""
        n = sum(blocks.sizes)
        first, second = blocks.totals()
        mean = first / n
        return cls(blocks, population, mean, mean if first is second else second / n)

    def correlations(
        self, weight: Tensor, names: Sequence[str] = CORRELATIONS, *, errors: bool = True
    ) -> dict[str, Value]:
        """Correlate W^T W with W^T K W at power 1.

        Args:
            weight: W, (k, d) or (g, k, d), in any floating-point type.
            names: Correlations to compute; "offdiagonal" costs as much as the others together.
            errors: Estimate standard errors, which doubles the cost; else they are NaN.

        Returns:
            Correlation name -> value with its standard error.
        """
        over = self._over(Forms(weight, self.blocks, self.first, self.second, self._dtype), names)
        if any(self._cancels(over[name], name) for name in names):
            over = self._over(Forms(weight, self.blocks, self.first, self.second, torch.float64), names)
        return {name: self._correlation(over[name], name, errors) for name in names}

    @property
    def _dtype(self) -> torch.dtype:
        """Number type of the algebra: that of K's rows where the noise of the probes is larger than its rounding."""
        exact = self.first is self.second
        extreme = not 1 / EXTREME_ENTRY < largest(self.first) < EXTREME_ENTRY
        return torch.float64 if exact or extreme else self.blocks.dtype

    def _over(self, forms: Forms, names: Sequence[str]) -> dict[str, AllEntries]:
        """Give the sums over the entries that each correlation runs over."""
        every = AllEntries(forms)
        return {name: OffDiagonalEntries(forms) if name == "offdiagonal" else every for name in names}

    def _cancels(self, over: AllEntries, name: str) -> bool:
        """Tell whether a variance is so small beside the squares that it needs float64."""
        if over.forms.dtype == torch.float64 or over.count == 0:
            return False
        shift = 0.0 if name == "cosine" else 1 / over.count
        pairs = (
            (over.squared_f - shift * over.sum_f**2, over.forms.features.squared),
            (over.squared - shift * over.sums[0] * over.sums[1], over.whole),
        )
        return any(variance < SMALL_VARIANCE * abs(squares) for variance, squares in pairs)

    def _correlation(self, over: AllEntries, name: str, errors: bool) -> Value:
        """Compute one correlation, with its standard error if ``errors``."""
        forms = over.forms
        if over.count == 0:
            return undefined(NO_OFF_DIAGONAL)
        shift = 0.0 if name == "cosine" else 1 / over.count
        products = [x - shift * over.sum_f * t for x, t in zip(over.products, over.sums, strict=True)]
        variance_f = over.squared_f - shift * over.sum_f**2
        variance = over.squared - shift * over.sums[0] * over.sums[1]
        squared_product = products[0] * products[1]
        if self.sampled:
            own = over.of_each_block()
            own_products = [x - shift * over.sum_f * t for x, t in zip(own.products, own.sums, strict=True)]
            variance = self.of_population(variance, own.squared - shift * float(own.sums[0] @ own.sums[1]))
            squared_product = self.of_population(squared_product, float(own_products[0] @ own_products[1]))
        if forms.features.squared == 0:
            return undefined(NFM_ZERO)
        if variance_f <= NEGLIGIBLE * forms.features.squared or variance <= NEGLIGIBLE * abs(over.whole):
            return undefined(EQUAL_OFF_DIAGONAL if name == "offdiagonal" else EQUAL)
        value = self.numerator(products, squared_product) / sqrt(variance_f * variance)
        if not errors:
            return Value(bounded(value), stderr=nan)
        slope = over.slope(1 / sqrt(variance_f * variance), value / variance, shift)
        return self.with_error(Value(bounded(value)), forms, slope)

    def numerator(self, products: Sequence[float], squared_product: float) -> float:
        """Combine <F, G1> and <F, G2> into the numerator of a correlation.

        Args:
            products: The product with each sketch.
            squared_product: Their product, or its estimate for the whole data set.

        Returns:
            The root of the product, with the sign of the mean; the mean itself where the sketches disagree.
        """
        mean = (products[0] + products[1]) / 2
        near = abs(products[0] - products[1]) <= abs(mean) * AGREEMENT
        return copysign(sqrt(squared_product), mean) if near and squared_product > 0 else mean

    @property
    def sampled(self) -> bool:
        """True if the target is the whole data set rather than these samples."""
        return self.population is not None and self.population > sum(self.blocks.sizes)

    def of_population(self, observed: float, own: float) -> float:
        """Estimate |A_N|^2 from |A_n|^2 (``observed``) and the sum over blocks of |sum of A_i|^2 (``own``)."""
        sizes = self.blocks.sizes
        n, population = sum(sizes), self.population or 0
        across = n**2 - sum(size**2 for size in sizes)
        pairs = (n**2 * observed - own) / across if across else observed
        return observed * n / population + (1 - n / population) * pairs

    def with_error(self, value: Value, forms: Forms, slope: Tensor) -> Value:
        """Add the standard error, from the correlation's derivative by K."""
        if len(self.blocks.sizes) < FEW_BLOCKS:
            return Value(value.value, TOO_FEW, nan)
        first, second = forms.of_blocks(slope)
        n = sum(self.blocks.sizes)
        probes = _variance((first - second) / (2 * n))
        if self.population is None:
            return Value(value.value, stderr=sqrt(probes))
        both = (first + second) / 2
        count = len(both)
        sampling = count / (count - 1) * _variance((both - torch.tensor(self.blocks.sizes) * both.sum() / n) / n)
        share = min(1.0, n / self.population)
        return Value(value.value, stderr=sqrt((1 - share) * sampling + share * probes))


def _variance(contributions: Tensor) -> float:
    """Estimate the variance of a sum of independent contributions of mean zero, each observed once.

    The estimate is widened so that two standard errors cover 95%, although the variance is itself estimated, which
    matters where a few contributions make up most of it. The factor is that of Student's t with
    nu = 3 (sum c^2)^2 / sum c^4 degrees of freedom, the number of contributions when they are normal (Satterthwaite;
    quantile to second order in 1/nu).
    """
    squares = contributions.square()
    total = squares.sum().item()
    if total == 0:
        return 0.0
    freedom = 3 * total**2 / squares.square().sum().item()
    return total * (1 + 1.21 / freedom + 1.44 / freedom**2) ** 2
