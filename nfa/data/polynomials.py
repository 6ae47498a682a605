"""Single-index and multi-index polynomials of a Gaussian input.

x ~ N(0, I_d), z = U^T x with orthonormal U (d, r), h_k = He_k / sqrt(k!) the normalised Hermite polynomial:

    single_index   y = h_k(z_1)
    multi_index    y = sum_j h_k(z_j) / sqrt(r)      link: sum
                   y = prod_j h_k(z_j)               link: product

Each target has mean 0 and variance 1. Its information exponent is k (r k for a product): y is orthogonal to every
polynomial of lower degree.
"""

import math
from typing import Literal

import numpy as np
from numpy.polynomial import hermite_e
from pydantic import model_validator

from nfa.data.options import DrawnOptions, coordinates, finish_drawn, orthonormal, tagged
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting


class SingleIndex(DrawnOptions):
    """Settings of ``single_index``."""

    name: Literal["single_index"] = "single_index"
    dim: int = setting(32, "input dimension d", ge=2, le=100_000)
    degree: int = setting(3, "degree k of the Hermite polynomial", ge=1, le=12)
    along: Literal["random", "axes"] = setting(
        "random", "relevant directions: random, drawn by the seed, or the first coordinate axes"
    )

    tags = tagged(dim="d", degree="k", along="u")
    quiet_tags = frozenset(tags)


class MultiIndex(DrawnOptions):
    """Settings of ``multi_index``."""

    name: Literal["multi_index"] = "multi_index"
    dim: int = setting(32, "input dimension d", ge=2, le=100_000)
    rank: int = setting(3, "number r of relevant directions", ge=1, le=1000)
    degree: int = setting(2, "degree k of the Hermite polynomial of each direction", ge=1, le=12)
    link: Literal["sum", "product"] = setting("sum", "sum or product of the Hermite polynomials of the directions")
    along: Literal["random", "axes"] = setting(
        "random", "relevant directions: random, drawn by the seed, or the first coordinate axes"
    )

    tags = tagged(dim="d", rank="r", degree="k", link="of", along="u")
    quiet_tags = frozenset(tags)

    @model_validator(mode="after")
    def _rank_fits(self) -> "MultiIndex":
        if self.rank > self.dim:
            raise ValueError(f"rank: {self.rank} is more than dim {self.dim}; use a rank of at most dim")
        return self


def hermite(z: np.ndarray, degree: int) -> np.ndarray:
    """Evaluate He_k(z) / sqrt(k!), which has mean 0 and variance 1 for a standard normal z."""
    coefficients = np.zeros(degree + 1)
    coefficients[degree] = 1 / math.sqrt(math.factorial(degree))
    values: np.ndarray = hermite_e.hermeval(z, coefficients)
    return values


def target(z: np.ndarray, degree: int, link: str = "sum") -> np.ndarray:
    """Evaluate the link function on projections: (n, r) -> (n, 1)."""
    each = hermite(z, degree)
    if link == "product":
        values: np.ndarray = each.prod(axis=1, keepdims=True)
    else:
        values = each.sum(axis=1, keepdims=True) / math.sqrt(z.shape[1])
    return values


def shape(settings: SingleIndex | MultiIndex) -> DataShape:
    """Describe the entry without drawing it."""
    relevant = getattr(settings, "rank", 1) if settings.along == "axes" else None
    return DataShape((settings.dim,), 1, None, settings.n_train, settings.n_test, relevant=relevant)


def load(settings: SingleIndex | MultiIndex, generator: np.random.Generator) -> Data:
    """Draw the directions, then the inputs, and evaluate the target on them."""
    rank = getattr(settings, "rank", 1)
    directions = coordinates(settings.dim, rank)
    if settings.along == "random":
        directions = orthonormal(generator.standard_normal((settings.dim, rank)))
    x = generator.standard_normal((settings.n_train + settings.n_test, settings.dim)).astype(np.float32)

    def link(z: np.ndarray) -> np.ndarray:
        return target(z, settings.degree, getattr(settings, "link", "sum"))

    return finish_drawn(settings, generator, x, link(x.astype(np.float64) @ directions), None, directions, link)


SINGLE_INDEX = DataEntry(SingleIndex, shape, load, "y = a Hermite polynomial of one direction of a Gaussian input")
MULTI_INDEX = DataEntry(
    MultiIndex, shape, load, "y = sum or product of Hermite polynomials of a few directions of a Gaussian input"
)
