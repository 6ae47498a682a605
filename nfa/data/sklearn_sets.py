"""The small data sets that scikit-learn ships; the seed draws a share of the samples for testing."""

from typing import Literal

import numpy as np
from pydantic import model_validator

from nfa.data.options import (
    STANDARDISE,
    ClassOptions,
    Options,
    Standardise,
    drawn_split,
    finish,
    held_out,
    scaled_targets,
)
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting

_TEST_SHARE = "share of the samples that the seed draws for testing"
_N_TRAIN = "keep this many of the training samples; all if not given"
_N_TEST = "keep this many of the test samples; all if not given"


class _DrawnSplit(Options):
    """Settings of all these sets."""

    n_train: int | None = setting(None, _N_TRAIN, ge=10)
    n_test: int | None = setting(None, _N_TEST, ge=1)
    test_share: float = setting(0.2, _TEST_SHARE, gt=0, lt=1)
    standardise: Standardise = setting("per_feature", STANDARDISE)

    @model_validator(mode="after")
    def _enough(self) -> "_DrawnSplit":
        total = _SIZES[self.name][2]  # type: ignore[attr-defined]
        test = held_out(total, self.test_share)
        for key, wanted, there in (("n_train", self.n_train, total - test), ("n_test", self.n_test, test)):
            if wanted is not None and wanted > there:
                raise ValueError(f"{key}: {wanted} is more than the {there} available samples; use fewer")
        return self


class Digits(_DrawnSplit, ClassOptions):
    """Settings of ``digits``."""

    name: Literal["digits"] = "digits"
    standardise: Standardise = setting("global", STANDARDISE)


class ClassTable(_DrawnSplit, ClassOptions):
    """Settings of ``wine``, ``breast_cancer`` and ``iris``: tables with classes."""

    name: Literal["wine", "breast_cancer", "iris"]


class Diabetes(_DrawnSplit):
    """Settings of ``diabetes``."""

    name: Literal["diabetes"] = "diabetes"
    standardise_targets: bool = setting(True, "give the training targets mean 0 and variance 1")


SklearnSet = Digits | ClassTable | Diabetes

# Name -> (shape of a sample, number of classes, number of samples).
_SIZES: dict[str, tuple[tuple[int, ...], int | None, int]] = {
    "digits": ((1, 8, 8), 10, 1797),
    "wine": ((13,), 3, 178),
    "breast_cancer": ((30,), 2, 569),
    "iris": ((4,), 3, 150),
    "diabetes": ((10,), None, 442),
}


def shape(settings: SklearnSet) -> DataShape:
    """Describe the entry without loading it."""
    sample, classes, total = _SIZES[settings.name]
    test = held_out(total, settings.test_share)
    return DataShape(sample, classes or 1, classes, settings.n_train or total - test, settings.n_test or test)


def load(settings: SklearnSet, generator: np.random.Generator) -> Data:
    """Load the set and draw the split."""
    import sklearn.datasets

    sample, classes, total = _SIZES[settings.name]
    x, y = getattr(sklearn.datasets, f"load_{settings.name}")(return_X_y=True)
    x = x.reshape(total, *sample).astype(np.float32)
    train, test = drawn_split(total, settings.test_share, settings, generator)
    targets = y[train], y[test]
    if not classes:
        targets = targets[0][:, None], targets[1][:, None]
        if getattr(settings, "standardise_targets", False):
            targets = scaled_targets(targets)
    return finish(settings, generator, (x[train], x[test]), targets, classes)


ENTRIES = {
    "digits": DataEntry(Digits, shape, load, "1,797 handwritten digits, 8 x 8, from scikit-learn"),
    "wine": DataEntry(ClassTable, shape, load, "178 wines of 3 cultivars, 13 measurements, from scikit-learn"),
    "breast_cancer": DataEntry(ClassTable, shape, load, "569 tumours of 2 classes, 30 measurements, from scikit-learn"),
    "iris": DataEntry(ClassTable, shape, load, "150 irises of 3 species, 4 measurements, from scikit-learn"),
    "diabetes": DataEntry(Diabetes, shape, load, "442 patients, 10 measurements, a regression, from scikit-learn"),
}
