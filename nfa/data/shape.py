"""What a data entry promises before it is loaded, and what it loads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nfa.entries import Settings

Kind = Literal["vectors", "images", "tokens"]


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
        vocabulary: Inputs are integer tokens below this, of shape (positions,); None where they are numbers.
    """

    input_shape: tuple[int, ...]
    outputs: int
    classes: int | None
    n_train: int
    n_test: int
    relevant: int | None = None
    vocabulary: int | None = None

    @property
    def kind(self) -> Kind:
        """What a network must be able to read."""
        if self.vocabulary is not None:
            return "tokens"
        return "images" if len(self.input_shape) == 3 else "vectors"


@dataclass(frozen=True)
class Data:
    """A loaded data set, as plain arrays.

    Attributes:
        x_train: (n_train, *input_shape) float32 inputs; int64 where they are tokens.
        y_train: (n_train, C) float32 targets; for classes the centred one-hot code, onehot - 1/C.
        x_test: (n_test, *input_shape), as x_train.
        y_test: (n_test, C) float32 targets.
        labels_train: (n_train,) int64 class labels, or None for regression.
        labels_test: (n_test,) int64 class labels, or None for regression.
        directions: (d, r) float32 with orthonormal columns: the target depends on the flattened input through x @
            directions alone; None where that is not known.
        target_agop: (r, r) float64, the target's own average gradient outer product over the training inputs, in the
            basis of the directions; None where it is not known, or the target has no gradient (a class).
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    labels_train: np.ndarray | None = None
    labels_test: np.ndarray | None = None
    directions: np.ndarray | None = None
    target_agop: np.ndarray | None = None


def _nothing(settings: Settings) -> dict[str, Any]:
    """Settings alone say all."""
    return {}


@dataclass(frozen=True)
class DataEntry:
    """One line of the data registry.

    Attributes:
        settings: The entry's settings class.
        shape: Settings -> DataShape, cheap, no torch, no file.
        load: (settings, generator) -> Data; the generator is seeded by the entry and the run's seed.
        about: One line for ``nfa init`` and the documentation.
        identity: Settings -> what else identifies the data, e.g. the digest of a file; part of a cell's content.
        check: Called with the settings when a sweep is planned: refuses what ``load`` would, where ``shape`` does not.
        left_out: Settings -> columns that the data have and that are not used, with the reason.
    """

    settings: type[Settings]
    shape: Callable[[Any], DataShape]
    load: Callable[[Any, np.random.Generator], Data]
    about: str
    identity: Callable[[Any], dict[str, Any]] = _nothing
    check: Callable[[Any], object] = _nothing
    left_out: Callable[[Any], dict[str, str]] = _nothing
