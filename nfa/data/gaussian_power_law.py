"""Gaussian inputs whose variances fall as a power of their index.

x ~ N(0, diag(i^-alpha)), i = 1..d. The target is ``linear``, y = w.x with a uniformly random direction w, scaled to
variance 1; or ``chain``, the chain monomial of the first few coordinates as they are (not scaled to variance 1), for
which ``nfa.theory.quadratic`` predicts the early alignment.
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from nfa.data import chain_monomial
from nfa.data.options import DrawnOptions, coordinates, finish_drawn, orthonormal, tagged
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting


class GaussianPowerLaw(DrawnOptions):
    """Settings of ``gaussian_power_law``."""

    name: Literal["gaussian_power_law"] = "gaussian_power_law"
    dim: int = setting(32, "input dimension d", ge=2, le=100_000)
    alpha: float = setting(1.0, "the i-th input has variance i^-alpha", ge=0, le=10)
    target: Literal["linear", "chain"] = setting(
        "linear", "linear: w.x for a random w, of variance 1; chain: the chain monomial of the first `rank` inputs"
    )
    rank: int = setting(5, "relevant inputs of the target `chain`", ge=2, le=100_000)

    tags = tagged(dim="d", alpha="a", target="y", rank="r")
    quiet_tags = frozenset(tags)

    @model_validator(mode="after")
    def _rank_fits(self) -> "GaussianPowerLaw":
        if self.target == "linear" and "rank" in self.model_fields_set:
            raise ValueError("rank: a linear target has no rank; leave it out, or use target: chain")
        if self.target == "chain" and self.rank > self.dim:
            raise ValueError(f"rank: {self.rank} is more than dim {self.dim}; use a rank of at most dim")
        return self


def shape(settings: GaussianPowerLaw) -> DataShape:
    """Describe the entry without drawing it."""
    relevant = settings.rank if settings.target == "chain" else None
    return DataShape((settings.dim,), 1, None, settings.n_train, settings.n_test, relevant=relevant)


def load(settings: GaussianPowerLaw, generator: np.random.Generator) -> Data:
    """Draw the weights of a linear target, then the inputs."""
    variance = np.arange(1.0, settings.dim + 1) ** -settings.alpha
    if settings.target == "linear":
        teacher = generator.standard_normal((settings.dim, 1))
        directions = orthonormal(teacher)
    else:
        directions = coordinates(settings.dim, settings.rank)
    x = generator.standard_normal((settings.n_train + settings.n_test, settings.dim)) * np.sqrt(variance)
    x = x.astype(np.float32)
    if settings.target == "linear":
        slope = np.linalg.norm(teacher) / np.sqrt(variance @ teacher**2)
        y = x.astype(np.float64) @ teacher / np.sqrt(variance @ teacher**2)
    else:
        y = chain_monomial.target(x.astype(np.float64), settings.rank)

    def link(z: np.ndarray) -> np.ndarray:
        return z * slope if settings.target == "linear" else chain_monomial.target(z, settings.rank)

    return finish_drawn(settings, generator, x, y, None, directions, link)


ENTRY = DataEntry(
    GaussianPowerLaw, shape, load, "Gaussian inputs of variances i^-alpha; a linear target or a chain monomial"
)
