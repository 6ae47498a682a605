"""The settings that every data entry has, and the functions that apply them to arrays.

An entry gives its raw inputs, with class labels or targets, to ``finish``, which applies the options in this order:
label noise, coding of classes, standardisation. With the options at their defaults ``finish`` draws no random numbers.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import model_validator

from nfa.data.one_hot import centred_one_hot
from nfa.data.shape import Data
from nfa.entries import Settings, setting

MAX_SAMPLES = 10_000_000
ROWS = 4096  # rows that are converted to float64 at a time
MANY_DIRECTIONS = 256  # with more directions the target is not differentiated: the cost grows with their square
N_TRAIN = "training samples: a fixed subset, the same for every seed; all if not given"
N_TEST = "test samples: a fixed subset, the same for every seed; all if not given"
STANDARDISE = (
    "subtract the training inputs' mean and divide by their standard deviation: over everything (global), per channel "
    "(of an image; of a vector each entry), or per_feature; none: inputs as they are"
)

Standardise = Literal["none", "global", "per_channel", "per_feature"]
Pair = tuple[np.ndarray, np.ndarray]  # arrays of the training samples and of the test samples
Link = Callable[[np.ndarray], np.ndarray]  # projections (n, r) float64 -> target (n, 1)


class Options(Settings):
    """Options of every entry; an entry may change the defaults."""

    n_train: int | None = setting(None, N_TRAIN, ge=10, le=MAX_SAMPLES)
    n_test: int | None = setting(None, N_TEST, ge=10, le=MAX_SAMPLES)
    standardise: Standardise = setting("none", STANDARDISE)
    label_noise: float = setting(
        0.0,
        "share of training labels drawn anew, uniformly over classes; in a regression Gaussian noise on the training "
        "targets, of this size relative to their standard deviation",
        ge=0,
        le=1,
    )

    tags = {"n_train": "n", "label_noise": "noise", "standardise": "std"}
    quiet_tags = frozenset({"n_train", "label_noise", "standardise"})


class ClassOptions(Options):
    """Options of an entry that may have classes."""

    centre: bool = setting(True, "code classes as onehot - 1/C; false: as onehot")


class RowOptions(ClassOptions):
    """Options of an entry that reads samples which have an order."""

    first: int | None = setting(
        None, "training samples: the first ones of the training set, in place of n_train", ge=10, le=MAX_SAMPLES
    )

    tags = {**Options.tags, "first": "first"}
    quiet_tags = Options.quiet_tags | {"first"}

    @model_validator(mode="after")
    def _one_number(self) -> "RowOptions":
        if self.first is not None and self.n_train is not None:
            raise ValueError("first: n_train is given too; keep one of them")
        return self

    @property
    def training(self) -> tuple[str, int | None]:
        """The setting that gives the number of training samples, and its value; None for all samples."""
        return ("n_train", self.n_train) if self.first is None else ("first", self.first)

    def training_rows(self, total: int) -> np.ndarray:
        """Choose the training samples, of ``total``: (n_train,) ascending indices."""
        return chosen(total, self.n_train) if self.first is None else np.arange(self.first)


class DrawnOptions(Options):
    """Options of an entry that draws any number of samples, anew for each seed."""

    n_train: int = setting(1024, "training samples", ge=10, le=MAX_SAMPLES)
    n_test: int = setting(1024, "test samples", ge=10, le=MAX_SAMPLES)


def tagged(**tags: str) -> dict[str, str]:
    """Return an entry's tags, which are shown only when not default, followed by those of the options."""
    return {**tags, **Options.tags}


def chosen(total: int, wanted: int | None) -> np.ndarray:
    """Choose a fixed random subset: (wanted,) ascending indices below total; a smaller subset is part of a larger."""
    if wanted is None or wanted >= total:
        return np.arange(total)
    subset: np.ndarray = np.sort(np.random.default_rng(0).permutation(total)[:wanted])
    return subset


def held_out(total: int, share: float) -> int:
    """Count the samples that a random split holds out for testing: at least one, and never all."""
    return min(max(1, round(total * share)), total - 1)


def drawn_split(total: int, share: float, settings: Options, generator: np.random.Generator) -> Pair:
    """Split at random: (n_train,) and (n_test,) indices."""
    order, test = generator.permutation(total), held_out(total, share)
    return order[test:][: settings.n_train], order[:test][: settings.n_test]


def finish(
    settings: Options,
    generator: np.random.Generator,
    x: Pair,
    y: Pair,
    classes: int | None = None,
    directions: np.ndarray | None = None,
    link: Link | None = None,
) -> Data:
    """Apply the options to raw arrays.

    Args:
        settings: The options.
        generator: Source of label noise.
        x: (n, *input_shape) float32 inputs, or int64 tokens, which are never standardised; left as they are.
        y: (n,) integer labels if there are classes, else (n, C) targets.
        classes: Number of classes, or None for a regression.
        directions: (d, r) with orthonormal columns, of the inputs before standardisation.
        link: The target as a function of x @ directions, if it is differentiable.
    """
    clean, noise = y[0], settings.label_noise
    if noise > 0:
        y = (
            noisy_labels(clean, classes, noise, generator) if classes else noisy_targets(clean, noise, generator),
            y[1],
        )
    labels = (y[0].astype(np.int64), y[1].astype(np.int64)) if classes else (None, None)
    if classes:
        code = centred_one_hot if getattr(settings, "centre", True) else one_hot
        y = (code(y[0], classes), code(y[1], classes))
    agop = None
    if link is not None and directions is not None and directions.shape[1] <= MANY_DIRECTIONS:
        agop = gradient_products(link, x[0] @ directions)
    if settings.standardise != "none" and x[0].dtype.kind == "f":
        mean, deviation = moments(x[0], settings.standardise)
        x = (standardised(x[0], mean, deviation), standardised(x[1], mean, deviation))
        if directions is not None:
            deviation = np.broadcast_to(deviation, (1, *x[0].shape[1:])).ravel()
            old, directions = deviation[:, None] * directions, rescaled(directions, deviation)
            agop = None if agop is None else directions.T @ old @ agop @ old.T @ directions
    return Data(
        x_train=x[0],
        y_train=y[0].astype(np.float32),
        x_test=x[1],
        y_test=y[1].astype(np.float32),
        labels_train=labels[0],
        labels_test=labels[1],
        directions=None if directions is None else directions.astype(np.float32),
        target_agop=agop,
    )


def finish_drawn(
    settings: DrawnOptions,
    generator: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
    classes: int | None = None,
    directions: np.ndarray | None = None,
    link: Link | None = None,
) -> Data:
    """Split drawn samples, the first n_train for training and the rest for testing, and apply the options."""
    n, x = settings.n_train, x.astype(np.float32, copy=False)
    y = y if classes else y.astype(np.float32)
    return finish(settings, generator, (x[:n], x[n:]), (y[:n], y[n:]), classes, directions, link)


def gradient_products(link: Link, z: np.ndarray) -> np.ndarray:
    """Average the gradient's outer product g g^T over samples, by central differences: (n, r) projections -> (r, r).

    The error of the differences, h^2 / 6 times the third derivative, is 0 for a target of degree two.
    """
    z, h = z.astype(np.float64), 1e-4
    shifts = h * np.eye(z.shape[1])
    gradients = np.hstack([(link(z + shift) - link(z - shift)) / (2 * h) for shift in shifts])
    products: np.ndarray = gradients.T @ gradients / len(z)
    return products


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Code (n,) integer labels as (n, C) float32 rows with a single 1."""
    codes: np.ndarray = np.eye(classes, dtype=np.float32)[labels]
    return codes


def noisy_labels(labels: np.ndarray, classes: int, share: float, generator: np.random.Generator) -> np.ndarray:
    """Draw a share of the labels anew, uniformly over all classes; about share * (1 - 1/C) of all labels change."""
    count = round(share * len(labels))
    changed = labels.copy()
    changed[generator.permutation(len(labels))[:count]] = generator.integers(classes, size=count)
    return changed


def noisy_targets(targets: np.ndarray, size: float, generator: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise to (n, C) targets; its standard deviation is ``size`` times that of each column."""
    deviation = targets.std(axis=0, keepdims=True, dtype=np.float64)
    noisy: np.ndarray = targets + size * deviation * generator.standard_normal(targets.shape)
    return noisy


def scaled_targets(targets: Pair) -> Pair:
    """Scale (n, C) training targets to mean 0 and variance 1 per column, and test targets by the same numbers."""
    mean, deviation = moments(targets[0], "per_feature")
    return (targets[0] - mean) / deviation, (targets[1] - mean) / deviation


def moments(x: np.ndarray, over: Standardise) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean and the standard deviation of (n, ...) inputs in float64; a constant has deviation 1.

    Returns:
        Two arrays that broadcast against the inputs.
    """
    if over == "global":
        mean, deviation = np.asarray(x.mean(dtype=np.float64)), np.asarray(x.std(dtype=np.float64))
    else:
        # One mean is taken over these axes: samples, and the pixels of an image's channel.
        axes = (0,) if over == "per_feature" else (0, *range(2, x.ndim))
        mean = x.mean(axis=axes, dtype=np.float64, keepdims=True)
        squares = sum(
            ((x[start : start + ROWS] - mean) ** 2).sum(axis=axes, keepdims=True) for start in range(0, len(x), ROWS)
        )
        deviation = np.sqrt(squares / math.prod(x.shape[axis] for axis in axes))
    return mean, np.where(deviation > 0, deviation, 1.0)


def standardised(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return (x - mean) / deviation as float32, computed in float64."""
    result = np.empty(x.shape, np.float32)
    for start in range(0, len(x), ROWS):
        result[start : start + ROWS] = (x[start : start + ROWS].astype(np.float64) - mean) / deviation
    return result


def rescaled(directions: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the relevant directions of inputs x' = x / deviation, in which u.x = (deviation * u).x'."""
    return orthonormal(deviation[:, None] * directions)


def orthonormal(columns: np.ndarray) -> np.ndarray:
    """Make the columns of (d, r) orthonormal, in order; Gaussian columns become a uniformly random frame."""
    q, r = np.linalg.qr(columns.astype(np.float64))
    frame: np.ndarray = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return frame


def coordinates(dim: int, rank: int) -> np.ndarray:
    """Return the first coordinate directions: (dim, rank)."""
    return np.eye(dim, rank)
