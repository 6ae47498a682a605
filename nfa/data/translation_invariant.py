"""Translation-invariant inputs that are not Gaussian, and a Gaussian control with the same covariance.

Ingrosso & Goldt, arXiv 2202.00565: z is Gaussian on a ring of d positions, Cov(z_i, z_j) = exp(-|i - j|^2 / xi^2), and

    x = erf(g z / sqrt 2) / sqrt(gamma),  gamma = (2/pi) arcsin(g^2 / (1 + g^2)),

so x has variance 1 and covariance arcsin(g^2 Cov / (1 + g^2)) / arcsin(g^2 / (1 + g^2)). Two equally likely classes
differ in their correlation length xi. On the ring the exponential alone need not be positive semi-definite. So it is
summed over distances of several turns of the ring, and normalised; for xi well below d this changes nothing.
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from nfa.data.options import ClassOptions, DrawnOptions, finish_drawn, tagged
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting


class NonGaussian(DrawnOptions, ClassOptions):
    """Settings of ``nongaussian``."""

    name: Literal["nongaussian"] = "nongaussian"
    dim: int = setting(64, "input dimension d: positions on a ring", ge=8, le=100_000)
    xi_short: float = setting(3.0, "correlation length of class 0, in positions", gt=0)
    xi_long: float = setting(6.0, "correlation length of class 1, in positions", gt=0)
    gain: float = setting(3.0, "gain g: the larger, the sharper the edges", gt=0, le=1000)
    inputs: Literal["nongaussian", "gaussian"] = setting(
        "nongaussian", "gaussian: the control, Gaussian inputs with the same covariances"
    )

    tags = tagged(dim="d", xi_short="xi", xi_long="to", gain="g", inputs="x")
    quiet_tags = frozenset(tags)

    @model_validator(mode="after")
    def _lengths_fit(self) -> "NonGaussian":
        for key, value in (("xi_short", self.xi_short), ("xi_long", self.xi_long)):
            if value > self.dim / 4:
                raise ValueError(f"{key}: {value:g} is more than a quarter of dim {self.dim}; use a shorter one")
        return self


def correlation(dim: int, length: float) -> np.ndarray:
    """Return the first row of the covariance of z on the ring: (d,)."""
    offsets = np.arange(dim) + dim * np.arange(-3, 4)[:, None]
    row: np.ndarray = np.exp(-((offsets / length) ** 2)).sum(axis=0)
    row /= row[0]
    return row


def through_erf(row: np.ndarray, gain: float) -> np.ndarray:
    """Turn the covariance of z into that of x, entry by entry."""
    ratio = gain**2 / (1 + gain**2)
    result: np.ndarray = np.arcsin(ratio * row) / np.arcsin(ratio)
    return result


def ring_gaussian(white: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Give white noise (n, d) the circulant covariance whose first row is ``row``."""
    spectrum = np.maximum(np.fft.rfft(row).real, 0)
    coloured: np.ndarray = np.fft.irfft(np.fft.rfft(white, axis=1) * np.sqrt(spectrum), n=len(row), axis=1)
    return coloured


def draw(white: np.ndarray, length: float, settings: NonGaussian) -> np.ndarray:
    """Turn white noise (n, d) into inputs of one class."""
    from scipy.special import erf

    row, g = correlation(settings.dim, length), settings.gain
    if settings.inputs == "gaussian":
        return ring_gaussian(white, through_erf(row, g))
    gamma = 2 / np.pi * np.arcsin(g**2 / (1 + g**2))
    x: np.ndarray = erf(g * ring_gaussian(white, row) / np.sqrt(2)) / np.sqrt(gamma)
    return x


def shape(settings: NonGaussian) -> DataShape:
    """Describe the entry without drawing it."""
    return DataShape((settings.dim,), 2, 2, settings.n_train, settings.n_test)


def load(settings: NonGaussian, generator: np.random.Generator) -> Data:
    """Draw each sample's class, then the inputs."""
    n = settings.n_train + settings.n_test
    labels = generator.integers(2, size=n)
    white = generator.standard_normal((n, settings.dim))
    x = np.empty((n, settings.dim), np.float32)
    for label, length in enumerate((settings.xi_short, settings.xi_long)):
        x[labels == label] = draw(white[labels == label], length, settings)
    return finish_drawn(settings, generator, x, labels, 2)


ENTRY = DataEntry(
    NonGaussian, shape, load, "translation-invariant inputs of sharp edges, two correlation lengths; Gaussian control"
)
