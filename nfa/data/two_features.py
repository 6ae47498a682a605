"""Two classes that a strong and a weak feature each separate: a test of gradient starvation.

y = +-1, x_1 = strong m y + noise, x_2 = weak y + noise, and all other inputs are noise ~ N(0, noise^2); m is log-normal
with mean 1, log m ~ N(-spread^2/2, spread^2). Once a network separates the training classes by x_1, the gradient of a
logistic loss vanishes before x_2 is learned (idea: Pezeshki et al., arXiv 2011.09468; the data are defined in this
project). In the test set the sign of x_1 is random, unless ``broken`` is false, so test accuracy shows how much of x_2
was learned. With spread 0, x_1 alone can give all samples of a class the same output; with spread > 0 only x_2 can
[derived].
"""

from typing import Literal

import numpy as np

from nfa.data.options import ClassOptions, DrawnOptions, coordinates, finish_drawn, tagged
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting


class TwoFeatures(DrawnOptions, ClassOptions):
    """Settings of ``two_features``."""

    name: Literal["two_features"] = "two_features"
    dim: int = setting(20, "input dimension d", ge=2, le=100_000)
    strong: float = setting(1.0, "mean size of the strong feature", gt=0, le=1e6)
    weak: float = setting(0.5, "size of the weak feature", gt=0, le=1e6)
    spread: float = setting(0.5, "standard deviation of the logarithm of the strong feature's size", ge=0, le=5)
    noise: float = setting(0.1, "standard deviation of the noise on every input", ge=0, le=1e6)
    broken: bool = setting(
        True, "in the test set the sign of the strong feature is random and says nothing about the class"
    )

    tags = tagged(dim="d", strong="strong", weak="weak", spread="spread", noise="noise", broken="")
    quiet_tags = frozenset(tags)


def shape(settings: TwoFeatures) -> DataShape:
    """Describe the entry without drawing it."""
    return DataShape((settings.dim,), 2, 2, settings.n_train, settings.n_test, relevant=2)


def load(settings: TwoFeatures, generator: np.random.Generator) -> Data:
    """Draw the classes, then the inputs."""
    n = settings.n_train + settings.n_test
    labels = generator.integers(2, size=n)
    sign = 2.0 * labels - 1.0
    shown = sign.copy()
    if settings.broken:
        shown[settings.n_train :] = 2.0 * generator.integers(2, size=settings.n_test) - 1.0
    size = np.exp(settings.spread * generator.standard_normal(n) - settings.spread**2 / 2)
    x = settings.noise * generator.standard_normal((n, settings.dim))
    x[:, 0] += settings.strong * size * shown
    x[:, 1] += settings.weak * sign
    return finish_drawn(settings, generator, x, labels, 2, coordinates(settings.dim, 2))


ENTRY = DataEntry(TwoFeatures, shape, load, "a strong and a weak feature, each of which separates two classes")
