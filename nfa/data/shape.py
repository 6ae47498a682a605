"""What a data entry promises before it is loaded, and what it loads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nfa.settings import Settings


@dataclass(frozen=True)
class DataShape:
    """What can be said of a data entry without loading it.

    Attributes:
        input_shape: Shape of one sample: (channels, height, width) for an image, (d,) for a vector.
        outputs: Number of target columns C.
        classes: Number of classes, or None for regression.
        n_train: Training samples.
        n_test: Test samples.
        relevant: The first this many input coordinates alone determine the target; None where that is not known.
    """

    input_shape: tuple[int, ...]
    outputs: int
    classes: int | None
    n_train: int
    n_test: int
    relevant: int | None = None


@dataclass(frozen=True)
class Data:
    """A loaded data set, as plain arrays.

    Attributes:
        x_train: (n_train, *input_shape) float32 inputs.
        y_train: (n_train, C) float32 targets; for classes the centred one-hot code, onehot - 1/C.
        x_test: (n_test, *input_shape) float32 inputs.
        y_test: (n_test, C) float32 targets.
        labels_train: (n_train,) int64 class labels, or None for regression.
        labels_test: (n_test,) int64 class labels, or None for regression.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    labels_train: np.ndarray | None = None
    labels_test: np.ndarray | None = None


@dataclass(frozen=True)
class DataEntry:
    """One line of the data registry.

    Attributes:
        settings: The entry's settings class.
        shape: Settings -> DataShape, cheap, no torch, no file.
        load: (settings, generator) -> Data; the generator is seeded by the entry and the run's seed.
        about: One line for ``nfa init`` and the documentation.
    """

    settings: type[Settings]
    shape: Callable[[Any], DataShape]
    load: Callable[[Any, np.random.Generator], Data]
    about: str
