"""The shape that a data entry promises before it is loaded, the arrays that it loads, and the entry itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nfa.entries import Settings

Kind = Literal["vectors", "images", "tokens"]


@dataclass(frozen=True)
class DataShape:
    """The shape of a data set, known without loading it.

    Attributes:
        input_shape: Shape of one sample: (channels, height, width) for an image, (d,) for a vector.
        outputs: Number of target columns C.
        classes: Number of classes, or None for a regression.
        n_train: Training samples.
        n_test: Test samples.
        relevant: The target depends on the first ``relevant`` input coordinates alone; None if that is not known.
        vocabulary: Inputs are integer tokens below this number, of shape (positions,); None if inputs are numbers.
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
        """The kind of input that a network must be able to read."""
        if self.vocabulary is not None:
            return "tokens"
        return "images" if len(self.input_shape) == 3 else "vectors"


@dataclass(frozen=True)
class Data:
    """A loaded data set, as numpy arrays.

    Attributes:
        x_train: (n_train, *input_shape) float32 inputs; int64 tokens.
        y_train: (n_train, C) float32 targets; of classes the centred one-hot code, onehot - 1/C.
        x_test: (n_test, *input_shape), as x_train.
        y_test: (n_test, C) float32 targets.
        labels_train: (n_train,) int64 class labels, or None for a regression.
        labels_test: (n_test,) int64 class labels, or None for a regression.
        directions: (d, r) float32 with orthonormal columns: the target depends on the flattened input x through
            x @ directions alone; None if such directions are not known.
        target_agop: (r, r) float64, the average gradient outer product of the target itself over the training inputs,
            in the basis of the directions; None if it is not known or the target is a class, which has no gradient.
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
    """Add nothing to what the settings say."""
    return {}


@dataclass(frozen=True)
class DataEntry:
    """One line of the data registry.

    Attributes:
        settings: The entry's settings class.
        shape: Settings -> DataShape. Called for every cell when a sweep is planned, so it must be fast, without torch.
        load: (settings, generator) -> Data; the generator is seeded by the entry and the run's seed.
        about: One line for ``nfa init`` and the documentation.
        identity: Settings -> further content that identifies the data, e.g. a file's digest; it enters a cell's id.
        check: Called with the settings when a sweep is planned, to refuse errors that ``load`` would refuse and that
            ``shape`` does not see.
        left_out: Settings -> unused columns of the data -> the reason.
    """

    settings: type[Settings]
    shape: Callable[[Any], DataShape]
    load: Callable[[Any, np.random.Generator], Data]
    about: str
    identity: Callable[[Any], dict[str, Any]] = _nothing
    check: Callable[[Any], object] = _nothing
    left_out: Callable[[Any], dict[str, str]] = _nothing
