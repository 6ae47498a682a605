"""Functions of a few of d uniform +-1 inputs: the staircase and the sparse parity.

    staircase       y = (x_1 + x_1 x_2 + ... + x_1 ... x_k) / sqrt(k), of variance 1: each step leads to the next
                    (Abbe, Boix-Adsera & Misiakiewicz, arXiv 2202.08658)
    sparse_parity   two classes: label 1 if x_1 ... x_k = -1; no product of fewer inputs correlates with the label

Samples are drawn independently, so samples repeat if d is small.
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from nfa.data.options import ClassOptions, DrawnOptions, coordinates, finish_drawn, tagged
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting


class Staircase(DrawnOptions):
    """Settings of ``staircase``."""

    name: Literal["staircase"] = "staircase"
    dim: int = setting(32, "input dimension d", ge=1, le=100_000)
    degree: int = setting(3, "number of steps k: the last one is a product of k inputs", ge=1, le=1000)

    tags = tagged(dim="d", degree="k")
    quiet_tags = frozenset(tags)

    @model_validator(mode="after")
    def _degree_fits(self) -> "Staircase":
        if self.degree > self.dim:
            raise ValueError(f"degree: {self.degree} is more than dim {self.dim}; use a degree of at most dim")
        return self


class SparseParity(DrawnOptions, ClassOptions):
    """Settings of ``sparse_parity``."""

    name: Literal["sparse_parity"] = "sparse_parity"
    dim: int = setting(32, "input dimension d", ge=1, le=100_000)
    degree: int = setting(3, "number k of inputs whose product is the class", ge=1, le=1000)

    tags = tagged(dim="d", degree="k")
    quiet_tags = frozenset(tags)

    @model_validator(mode="after")
    def _degree_fits(self) -> "SparseParity":
        if self.degree > self.dim:
            raise ValueError(f"degree: {self.degree} is more than dim {self.dim}; use a degree of at most dim")
        return self


def staircase(x: np.ndarray, degree: int) -> np.ndarray:
    """Evaluate the staircase: (n, d) -> (n, 1)."""
    values: np.ndarray = np.cumprod(x[:, :degree], axis=1).sum(axis=1, keepdims=True) / np.sqrt(degree)
    return values


def parity(x: np.ndarray, degree: int) -> np.ndarray:
    """Return the class: (n, d) -> (n,), 1 if an odd number of the first ``degree`` inputs is -1."""
    odd: np.ndarray = (x[:, :degree] < 0).sum(axis=1) % 2
    return odd


def shape_staircase(settings: Staircase) -> DataShape:
    """Describe the staircase without drawing it."""
    return DataShape((settings.dim,), 1, None, settings.n_train, settings.n_test, relevant=settings.degree)


def shape_parity(settings: SparseParity) -> DataShape:
    """Describe the parity without drawing it."""
    return DataShape((settings.dim,), 2, 2, settings.n_train, settings.n_test, relevant=settings.degree)


def load_staircase(settings: Staircase, generator: np.random.Generator) -> Data:
    """Draw the inputs and evaluate the staircase on them."""
    x = signs(settings, settings.dim, generator)

    def link(z: np.ndarray) -> np.ndarray:
        return staircase(z, settings.degree)  # for all real z: gradients are taken there

    directions = coordinates(settings.dim, settings.degree)
    return finish_drawn(settings, generator, x, link(x.astype(np.float64)), None, directions, link)


def load_parity(settings: SparseParity, generator: np.random.Generator) -> Data:
    """Draw the inputs and evaluate the parity on them."""
    x = signs(settings, settings.dim, generator)
    labels = parity(x, settings.degree)
    return finish_drawn(settings, generator, x, labels, 2, coordinates(settings.dim, settings.degree))


def signs(settings: DrawnOptions, dim: int, generator: np.random.Generator) -> np.ndarray:
    """Draw uniform +-1 inputs for training and testing: (n, d) float32."""
    bits = generator.integers(2, size=(settings.n_train + settings.n_test, dim), dtype=np.int8)
    x: np.ndarray = (2 * bits - 1).astype(np.float32)
    return x


STAIRCASE = DataEntry(
    Staircase, shape_staircase, load_staircase, "y = x1 + x1 x2 + x1 x2 x3 + ..., of variance 1, on +-1 inputs"
)
SPARSE_PARITY = DataEntry(
    SparseParity, shape_parity, load_parity, "two classes: the sign of the product of k of d +-1 inputs"
)
