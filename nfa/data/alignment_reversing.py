"""A Gaussian mixture on which the alignment falls at the start of training.

A share 1 - gamma of the samples has x ~ N(0, diag r) and y = 1; a share gamma has x ~ N(0, 10 diag r^-p) and y = 0;
r = linspace(0.1, 2, d). The variances of the second component are large where those of the first are small. They
dominate the inputs' covariance, but the target of these samples is 0, so the average gradient outer product is set by
the other component.
"""

from typing import Literal

import numpy as np

from nfa.data.options import DrawnOptions, finish_drawn, tagged
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting


class AlignmentReversing(DrawnOptions):
    """Settings of ``alignment_reversing``."""

    name: Literal["alignment_reversing"] = "alignment_reversing"
    dim: int = setting(128, "input dimension d", ge=2, le=100_000)
    power: float = setting(2.0, "power p of the second component's variances 10 r^-p", ge=0, le=10)
    gamma: float = setting(0.1, "expected share of the second component, whose target is 0", ge=0, le=1)
    n_train: int = setting(4096, "training samples", ge=10, le=10_000_000)

    tags = tagged(dim="d", power="p", gamma="g")
    quiet_tags = frozenset(tags)


def variances(dim: int, power: float) -> np.ndarray:
    """Return the variances of the inputs of both components: (2, d)."""
    first = np.linspace(0.1, 2.0, dim)
    return np.stack([first, 10 * first**-power])


def shape(settings: AlignmentReversing) -> DataShape:
    """Describe the entry without drawing it."""
    return DataShape((settings.dim,), 1, None, settings.n_train, settings.n_test)


def load(settings: AlignmentReversing, generator: np.random.Generator) -> Data:
    """Draw each sample's component, then the inputs."""
    n = settings.n_train + settings.n_test
    second = generator.random(n) < settings.gamma
    x = generator.standard_normal((n, settings.dim))
    x *= np.sqrt(variances(settings.dim, settings.power))[second.astype(np.int64)]
    return finish_drawn(settings, generator, x, 1.0 - second[:, None])


ENTRY = DataEntry(
    AlignmentReversing,
    shape,
    load,
    "a Gaussian mixture whose inputs of large variance have target 0: the alignment falls",
)
