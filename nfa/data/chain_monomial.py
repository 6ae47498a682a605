"""The chain monomial: a target of degree two in the first few coordinates of a Gaussian input.

y = sum_{i<r} x_i x_{(i+1) mod r} / sqrt(r), x ~ N(0, I_d) (Beaglehole, Mitliagkas & Agarwala, arXiv 2402.05271).
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from nfa.data.options import DrawnOptions, coordinates, finish_drawn, tagged
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting


class ChainMonomial(DrawnOptions):
    """Settings of ``chain_monomial``."""

    name: Literal["chain_monomial"] = "chain_monomial"
    dim: int = setting(32, "input dimension d", ge=2, le=100_000)
    rank: int = setting(5, "number r of relevant coordinates", ge=2, le=100_000)

    tags = tagged(dim="d", rank="r")
    quiet_tags = frozenset(tags)

    @model_validator(mode="after")
    def _rank_fits(self) -> "ChainMonomial":
        if self.rank > self.dim:
            raise ValueError(f"rank: {self.rank} is more than dim {self.dim}; use a rank of at most dim")
        return self


def target(x: np.ndarray, rank: int) -> np.ndarray:
    """Evaluate the chain monomial: (n, d) inputs -> (n, 1) targets of variance 1 (for r > 2)."""
    relevant = x[:, :rank]
    values: np.ndarray = (relevant * np.roll(relevant, -1, axis=1)).sum(axis=1, keepdims=True) / np.sqrt(rank)
    return values


def shape(settings: ChainMonomial) -> DataShape:
    """Describe the entry without drawing it."""
    return DataShape((settings.dim,), 1, None, settings.n_train, settings.n_test, relevant=settings.rank)


def load(settings: ChainMonomial, generator: np.random.Generator) -> Data:
    """Draw train and test inputs and evaluate the target on them."""
    x = generator.standard_normal((settings.n_train + settings.n_test, settings.dim)).astype(np.float32)
    y = target(x.astype(np.float64), settings.rank)

    def link(z: np.ndarray) -> np.ndarray:
        return target(z, settings.rank)

    return finish_drawn(settings, generator, x, y, None, coordinates(settings.dim, settings.rank), link)


ENTRY = DataEntry(
    ChainMonomial,
    shape,
    load,
    "y = sum of x_i x_(i+1) over r of d Gaussian coordinates; the relevant directions are known",
)
