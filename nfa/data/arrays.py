"""Check the user's arrays, from a file or a function, and make a data set of them.

The arrays are named ``x_train, y_train, x_test, y_test``. Without a test pair (``x_train, y_train``, or ``x, y``) the
seed draws a share of the samples for testing. x is (n, ...): vectors, images (grey images may lack the channel axis),
or integer tokens. y is (n,) or (n, C); ``nfa.data.labels`` decides how it is read.

``plan`` looks at shapes, number types and targets only, and ``assemble`` reads the inputs, so that a sweep over a large
file is planned fast.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from nfa.data.labels import MAX_CLASSES, TEXT, Labels, Reading, reading
from nfa.data.options import RowOptions, chosen, drawn_split, finish, held_out, scaled_targets
from nfa.data.shape import Data, DataShape
from nfa.entries import setting
from nfa.errors import UserError, one_line

NAMES = ("x_train", "y_train", "x_test", "y_test", "x", "y")

Header = tuple[tuple[int, ...], np.dtype[Any]]  # an array's shape and number type


class ArrayOptions(RowOptions):
    """Settings of data that the user gives as arrays."""

    n_train: int | None = setting(
        None,
        "keep this many of the training samples: the same ones for every seed if there is a test set; all if not given",
        ge=1,
    )
    n_test: int | None = setting(
        None, "keep this many of the test samples, chosen as for n_train; all if not given", ge=1
    )
    task: Literal["auto", "classes", "regression"] = setting(
        "auto", "another way to give labels: classes is labels: classes, regression is labels: values"
    )
    labels: Labels = setting(
        "auto",
        "how targets are read: as classes, as values of a regression, or onehot rows as classes; auto: a whole number, "
        "text or true/false per sample is a class, decimals are values, and targets that can be both are refused",
    )
    test_share: float = setting(
        0.2, "share of the samples that the seed draws for testing if there is no test set", gt=0, lt=1
    )
    channels: Literal["auto", "first", "last"] = setting(
        "auto",
        "position of an image's channel axis; auto: last if the last axis has 1, 3 or 4 entries and the first not",
    )
    vocabulary: int | None = setting(
        None, "inputs are integer tokens below this number; if not given, they are numbers", ge=2, le=10**7
    )
    standardise_targets: bool = setting(False, "give the training targets of a regression mean 0 and variance 1")

    @model_validator(mode="after")
    def _one_reading(self) -> "ArrayOptions":
        allowed = {"auto": ("auto", "classes", "values", "onehot"), "classes": ("auto", "classes", "onehot")}
        if self.labels not in allowed.get(self.task, ("auto", "values")):
            raise ValueError(f"labels: {self.labels} and task: {self.task} contradict each other; keep labels")
        return self

    @property
    def asked_labels(self) -> Labels:
        """The setting ``labels``, taken from ``task`` if that was given instead."""
        of_task: dict[str, Labels] = {"auto": "auto", "classes": "classes", "regression": "values"}
        return of_task[self.task] if self.labels == "auto" else self.labels


@dataclass(frozen=True)
class ArrayPlan:
    """How a set of arrays is to be read.

    Attributes:
        shape: Shape of the data set.
        parts: Names of the training pair and, if there is one, of the test pair.
        classes: The labels of the classes 0, 1, ... in ascending order; None for a regression.
        last: Whether images have their channel axis last.
        one_hot: Whether targets are one-hot rows that stand for classes.
    """

    shape: DataShape
    parts: tuple[tuple[str, str], ...]
    classes: np.ndarray | None
    last: bool
    one_hot: bool = False


def plan(
    where: str,
    headers: Mapping[str, Header],
    read: Callable[[str], np.ndarray],
    settings: ArrayOptions,
    target: str | None = None,
    promised: DataShape | None = None,
) -> ArrayPlan:
    """Decide how arrays are read, from their headers and targets alone.

    Args:
        where: The beginning of an error message.
        headers: Name of each array -> its shape and number type.
        read: Name -> array; called for targets only.
        settings: The options.
        target: What an error message calls the targets; by default their array's name.
        promised: A shape that was stated before. It decides about targets that can be read in two ways.

    Raises:
        UserError: A name, a shape, a number type or the targets cannot be used.
    """
    parts = _parts(where, headers)
    counts = [_paired(where, headers, names) for names in parts]
    samples = [_sample(where, name, headers[name], settings) for name, _ in parts]
    if samples[0] != samples[-1]:
        raise UserError(
            f"{where}: {_described(parts[0][0], samples[0])}, {_described(parts[1][0], samples[1])}; make them agree"
        )
    widths = [_width(headers[name][0]) for _, name in parts]
    if widths[0] != widths[-1]:
        raise UserError(f"{where}: {parts[0][1]} has {widths[0]} columns, {parts[1][1]} {widths[1]}; make them agree")
    _check_targets(where, [(name, headers[name]) for _, name in parts])
    targets, called = [read(name) for _, name in parts], target or parts[0][1]
    known = None if promised is None else promised.classes is not None
    read_as = reading(where, called, targets, settings.asked_labels, known)
    classes = None
    if read_as == "onehot":
        classes = np.arange(widths[0])
    elif read_as == "classes":
        classes = np.unique(np.concatenate([y.reshape(-1) for y in targets]))
    if classes is not None and not 2 <= len(classes) <= MAX_CLASSES:
        found = f"{len(classes)} classes" if len(classes) > 1 else f"one class, {classes[0]},"
        raise UserError(
            f"{where}: {called} has {found} where 2 to {MAX_CLASSES:,} are possible; labels: values reads numbers as a "
            f"regression"
        )
    if classes is not None and len(parts) == 2:
        may_be_values = settings.asked_labels == "auto" and classes.dtype.kind not in TEXT
        way_out = ", or say labels: values for a regression" if may_be_values else ""
        train_labels, test_labels = (_labels(y, read_as) for y in targets)
        check_test_classes(where, target or parts[1][1], train_labels, test_labels, way_out)
    if len(parts) == 1:
        if counts[0] < 2:
            raise UserError(
                f"{where}: number of samples: {counts[0]}; at least two are needed, one of them for testing"
            )
        if settings.first is not None:
            raise UserError(f"{where}: first: without a test set the seed draws the training samples; use n_train")
        test = held_out(counts[0], settings.test_share)
        counts = [counts[0] - test, test]
    for key, wanted, there in ((*settings.training, counts[0]), ("n_test", settings.n_test, counts[1])):
        if wanted is not None and wanted > there:
            raise UserError(f"{where}: {key}: {wanted} is more than the {there} available samples; use fewer")
    n_train, n_test = settings.training[1] or counts[0], settings.n_test or counts[1]
    image, last = samples[0]
    outputs = widths[0] if classes is None else len(classes)
    shape = DataShape(
        image, outputs, None if classes is None else outputs, n_train, n_test, vocabulary=settings.vocabulary
    )
    return ArrayPlan(shape, parts, classes, last, read_as == "onehot")


def assemble(
    where: str,
    layout: ArrayPlan,
    read: Callable[[str], np.ndarray],
    settings: ArrayOptions,
    generator: np.random.Generator,
) -> Data:
    """Read arrays as planned, draw the test samples if there is no test pair, and apply the options.

    Raises:
        UserError: A value is missing, not finite, or not a token.
    """
    x = [_inputs(where, name, read(name), layout, settings) for name, _ in layout.parts]
    y = [_targets(read(name), layout) for _, name in layout.parts]
    if len(x) == 1:
        rows = drawn_split(len(x[0]), settings.test_share, settings, generator)
        inputs, targets = (x[0][rows[0]], x[0][rows[1]]), (y[0][rows[0]], y[0][rows[1]])
    else:
        rows = settings.training_rows(len(x[0])), chosen(len(x[1]), settings.n_test)
        inputs, targets = (x[0][rows[0]], x[1][rows[1]]), (y[0][rows[0]], y[1][rows[1]])
    if layout.classes is None and settings.standardise_targets:
        targets = scaled_targets(targets)
    return finish(settings, generator, inputs, targets, layout.shape.classes)


def from_arrays(
    where: str,
    arrays: Mapping[str, np.ndarray],
    settings: ArrayOptions,
    generator: np.random.Generator,
    promised: DataShape | None = None,
) -> Data:
    """Make a data set of arrays in memory; ``promised`` as in ``plan``."""
    headers = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    layout = plan(where, headers, arrays.__getitem__, settings, promised=promised)
    return assemble(where, layout, arrays.__getitem__, settings, generator)


def check_inputs(where: str, name: str, low: Any, high: Any, settings: ArrayOptions) -> None:
    """Refuse inputs by their smallest and largest value; both are NaN if any value is.

    Raises:
        UserError: A value is missing, infinite or too large for float32, or not a token.
    """
    if settings.vocabulary is not None:
        if low < 0 or high >= settings.vocabulary:
            raise UserError(
                f"{where}: {name} has tokens from {low} to {high}; vocabulary: {settings.vocabulary} needs them from 0 "
                f"to {settings.vocabulary - 1}"
            )
        return
    with np.errstate(over="ignore"):
        if not (np.isfinite(np.float32(low)) and np.isfinite(np.float32(high))):
            raise UserError(
                f"{where}: {name} has values that are missing, infinite or beyond float32; remove or replace them"
            )


def wrong_names(where: str, headers: Mapping[str, Header]) -> UserError:
    """Make the error for arrays with other names than ``NAMES``; the message shows how to rename them."""
    found = ", ".join(sorted(headers)) or "nothing"
    needs = "needs x_train and y_train, perhaps x_test and y_test, or else x and y"
    unknown = [name for name in headers if name not in NAMES]
    if not unknown:
        return UserError(f"{where}: has {found}; {needs}")
    ranked = sorted(unknown, key=lambda name: -len(headers[name][0]))  # inputs have more axes than targets
    x, y = ranked[0], ranked[1] if len(ranked) > 1 else "NAME"
    return UserError(
        f"{where}: has {found}; {one_line(unknown[0])} is not the name of an array here; {needs}; save inputs and "
        f"targets under these names, e.g. numpy.savez('new.npz', x=old[{one_line(x)}], y=old[{one_line(y)}])"
    )


def _parts(where: str, headers: Mapping[str, Header]) -> tuple[tuple[str, str], ...]:
    """Return the names of the pairs of inputs and targets: training and test, or one pair."""
    train, test, both = ("x_train", "y_train"), ("x_test", "y_test"), ("x", "y")
    for parts in ((train, test), (train,), (both,)):
        if set(headers) == {name for pair in parts for name in pair}:
            return parts
    raise wrong_names(where, headers)


def _paired(where: str, headers: Mapping[str, Header], names: tuple[str, str]) -> int:
    """Count the samples of a pair of inputs and targets."""
    (x, _), (y, _) = headers[names[0]], headers[names[1]]
    if not x or not y or x[0] != y[0] or x[0] == 0 or len(x) < 2:
        raise UserError(
            f"{where}: {names[0]} is {x} and {names[1]} {y}; the first axis of both must count the same samples, and "
            f"{names[0]} needs another"
        )
    return x[0]


def _described(name: str, sample: tuple[tuple[int, ...], bool]) -> str:
    """Describe the samples of an array for an error message."""
    shape, moved = sample
    return f"samples of {name} have shape {shape}{' (channels moved to the front)' if moved else ''}"


def _sample(where: str, name: str, header: Header, settings: ArrayOptions) -> tuple[tuple[int, ...], bool]:
    """Return the shape of one sample as a network sees it, and whether its channels must be moved to the front."""
    (_, *sample), dtype = header
    if 0 in sample:
        raise UserError(f"{where}: {name} is {header[0]}; a sample must not be empty")
    if settings.vocabulary is not None:
        if dtype.kind not in "ui" or len(sample) != 1:
            raise UserError(
                f"{where}: {name} is {dtype} of {header[0]}; tokens are whole numbers of (samples, positions)"
            )
        return tuple(sample), False
    if dtype.kind not in "fiub":
        raise UserError(f"{where}: {name} holds {dtype}, not numbers")
    if len(sample) == 2:
        return (1, *sample), False
    last = settings.channels == "last" or (
        settings.channels == "auto" and len(sample) == 3 and sample[2] in (1, 3, 4) and sample[0] not in (1, 3, 4)
    )
    if last and len(sample) == 3:
        return (sample[2], sample[0], sample[1]), True
    return tuple(sample), False


def _width(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[1:], dtype=np.int64))


def _check_targets(where: str, targets: list[tuple[str, Header]]) -> None:
    for name, (shape, dtype) in targets:
        if dtype.kind not in "fiubUST" or len(shape) > 2 or 0 in shape:
            raise UserError(f"{where}: {name} is {dtype} of {shape}; give one label or a row of numbers per sample")


def _labels(y: np.ndarray, read_as: Reading) -> np.ndarray:
    """Return one label per sample: (n,); of one-hot rows the column of the 1."""
    return y.argmax(axis=1) if read_as == "onehot" else y.reshape(-1)


def check_test_classes(where: str, called: str, train: np.ndarray, test: np.ndarray, way_out: str = "") -> None:
    """Refuse classes that only test samples have: a network cannot learn them, and a misspelt label makes one.

    Args:
        where: The beginning of an error message.
        called: What the message calls the targets.
        train: (n_train,) labels.
        test: (n_test,) labels.
        way_out: The end of the error message, if there is another remedy.

    Raises:
        UserError: A test sample has a class that no training sample has.
    """
    unknown = np.setdiff1d(test, train)
    if len(unknown):
        shown = ", ".join(one_line(label, 40) for label in unknown[:3].tolist()) + (", ..." if len(unknown) > 3 else "")
        raise UserError(
            f"{where}: {called}: only test samples have the class {shown}; correct these labels or give the class "
            f"training samples{way_out}"
        )


def _inputs(where: str, name: str, x: np.ndarray, layout: ArrayPlan, settings: ArrayOptions) -> np.ndarray:
    check_inputs(where, name, x.min(), x.max(), settings)
    if settings.vocabulary is not None:
        return np.ascontiguousarray(x, np.int64)
    x = (np.moveaxis(x, -1, 1) if layout.last else x).astype(np.float32)
    return np.ascontiguousarray(x.reshape(len(x), *layout.shape.input_shape))


def _targets(y: np.ndarray, layout: ArrayPlan) -> np.ndarray:
    if layout.classes is None:
        return y.reshape(len(y), -1).astype(np.float64)
    return np.searchsorted(layout.classes, _labels(y, "onehot" if layout.one_hot else "classes"))
