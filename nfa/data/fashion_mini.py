"""A part of Fashion-MNIST that is shipped with this package: the first 5,000 training and first 1,000 test images.

Xiao, Rasul & Vollgraf (arXiv 1708.07747), MIT license: see ``files/NOTICE``. Made by ``files/make_fashion_mini.py``.
"""

from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np

from nfa.data.options import STANDARDISE, ClassOptions, Standardise, finish
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting

CLASSES = 10


class FashionMini(ClassOptions):
    """Settings of ``fashion_mini``."""

    name: Literal["fashion_mini"] = "fashion_mini"
    n_train: int = setting(5000, "training images: the first of the 5,000", ge=10, le=5000)
    n_test: int = setting(1000, "test images: the first of the 1,000", ge=10, le=1000)
    standardise: Standardise = setting("global", STANDARDISE)


def shape(settings: FashionMini) -> DataShape:
    """Describe the entry without loading it."""
    return DataShape((1, 28, 28), CLASSES, CLASSES, settings.n_train, settings.n_test)


@cache
def _arrays() -> dict[str, np.ndarray]:
    """Read the file (5 MB) once per process, for all stages and seeds of a cell."""
    with files("nfa.data").joinpath("files/fashion_mini.npz").open("rb") as stream:
        return dict(np.load(stream, allow_pickle=False))


def load(settings: FashionMini, generator: np.random.Generator) -> Data:
    """Load the images."""
    arrays = _arrays()
    x_train = arrays["x_train"][: settings.n_train, None].astype(np.float32)
    x_test = arrays["x_test"][: settings.n_test, None].astype(np.float32)
    labels = arrays["y_train"][: settings.n_train], arrays["y_test"][: settings.n_test]
    return finish(settings, generator, (x_train, x_test), labels, CLASSES)


ENTRY = DataEntry(FashionMini, shape, load, "6,000 real Fashion-MNIST images, shipped with the package")
