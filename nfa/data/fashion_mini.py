"""Fashion-MNIST, the first 5,000 training and 1,000 test images of each file, shipped inside this package.

Xiao, Rasul & Vollgraf (arXiv 1708.07747), MIT license: see ``files/NOTICE``. Made by ``files/make_fashion_mini.py``.
"""

from importlib.resources import files
from typing import Literal

import numpy as np

from nfa.data.shape import Data, DataEntry, DataShape
from nfa.data.targets import centred_one_hot
from nfa.settings import Settings, setting

CLASSES = 10


class FashionMini(Settings):
    """Settings of ``fashion_mini``."""

    name: Literal["fashion_mini"] = "fashion_mini"
    n_train: int = setting(5000, "training images: the first of the 5,000", ge=10, le=5000)
    n_test: int = setting(1000, "test images: the first of the 1,000", ge=10, le=1000)

    tags = {"n_train": "n"}
    quiet_tags = frozenset({"n_train"})


def shape(settings: FashionMini) -> DataShape:
    """Describe the entry without loading it."""
    return DataShape((1, 28, 28), CLASSES, CLASSES, settings.n_train, settings.n_test)


def load(settings: FashionMini, generator: np.random.Generator) -> Data:
    """Load the images, standardised by the training images' mean and standard deviation. Draws nothing."""
    with files("nfa.data").joinpath("files/fashion_mini.npz").open("rb") as stream:
        arrays = dict(np.load(stream, allow_pickle=False))
    x_train = arrays["x_train"][: settings.n_train, None].astype(np.float32)
    x_test = arrays["x_test"][: settings.n_test, None].astype(np.float32)
    mean, deviation = x_train.mean(dtype=np.float64), x_train.std(dtype=np.float64)
    labels_train = arrays["y_train"][: settings.n_train].astype(np.int64)
    labels_test = arrays["y_test"][: settings.n_test].astype(np.int64)
    return Data(
        x_train=((x_train - mean) / deviation).astype(np.float32),
        y_train=centred_one_hot(labels_train, CLASSES),
        x_test=((x_test - mean) / deviation).astype(np.float32),
        y_test=centred_one_hot(labels_test, CLASSES),
        labels_train=labels_train,
        labels_test=labels_test,
    )


ENTRY = DataEntry(FashionMini, shape, load, "6,000 real Fashion-MNIST images, shipped with the package")
