"""A two-layer teacher network of a Gaussian input.

y = sum_{j<r} a_j (s(w_j.x) - E s) / sqrt(r Var s) with x ~ N(0, I_d), random orthonormal w_j and random signs a_j. The
pre-activations are independent standard normals, so y has mean 0 and variance 1 for every activation s.
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from nfa.data.options import DrawnOptions, finish_drawn, orthonormal, tagged
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting


class Teacher(DrawnOptions):
    """Settings of ``teacher``."""

    name: Literal["teacher"] = "teacher"
    dim: int = setting(32, "input dimension d", ge=1, le=100_000)
    units: int = setting(5, "hidden units r of the teacher, of orthonormal weights", ge=1, le=1000)
    activation: Literal["relu", "tanh", "erf", "quadratic"] = setting("relu", "activation of the teacher's units")

    tags = tagged(dim="d", units="r", activation="s")
    quiet_tags = frozenset(tags)

    @model_validator(mode="after")
    def _units_fit(self) -> "Teacher":
        if self.units > self.dim:
            raise ValueError(f"units: {self.units} is more than dim {self.dim}; use at most dim units")
        return self


def normalised(z: np.ndarray, activation: str) -> np.ndarray:
    """Evaluate (s(z) - E s) / sqrt(Var s), with mean and variance over a standard normal z."""
    from scipy.special import erf

    # Name -> (s, E s, Var s). E tanh(z)^2 has no closed form and was computed by quadrature.
    functions = {
        "relu": (lambda u: np.maximum(u, 0), np.sqrt(1 / (2 * np.pi)), 0.5 - 1 / (2 * np.pi)),
        "tanh": (np.tanh, 0.0, 0.394294490397841),
        "erf": (erf, 0.0, 2 / np.pi * np.arcsin(2 / 3)),
        "quadratic": (np.square, 1.0, 2.0),
    }
    function, mean, variance = functions[activation]
    values: np.ndarray = (function(z) - mean) / np.sqrt(variance)
    return values


def shape(settings: Teacher) -> DataShape:
    """Describe the entry without drawing it."""
    return DataShape((settings.dim,), 1, None, settings.n_train, settings.n_test)


def load(settings: Teacher, generator: np.random.Generator) -> Data:
    """Draw the teacher, then the inputs, and evaluate the teacher on them."""
    weights = orthonormal(generator.standard_normal((settings.dim, settings.units)))
    signs = 2.0 * generator.integers(2, size=(settings.units, 1)) - 1
    x = generator.standard_normal((settings.n_train + settings.n_test, settings.dim)).astype(np.float32)

    def link(z: np.ndarray) -> np.ndarray:
        values: np.ndarray = normalised(z, settings.activation) @ signs / np.sqrt(settings.units)
        return values

    return finish_drawn(settings, generator, x, link(x.astype(np.float64) @ weights), None, weights, link)


ENTRY = DataEntry(Teacher, shape, load, "y = a two-layer network of r random units, of a Gaussian input")
