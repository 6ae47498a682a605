"""Decide how targets are read: as classes, as values of a regression, or as one-hot rows.

One whole number, text or true/false per sample names a class; numbers with decimals are values of a regression. Three
kinds of targets can be read in two ways, and the setting ``labels`` must then choose: whole numbers with a decimal
point that repeat (1.0, 2.0, 1.0), many different whole numbers (ages, counts, prices), and rows with a single 1 among
zeros.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from nfa.errors import UserError

Labels = Literal["auto", "classes", "values", "onehot"]
Reading = Literal["classes", "values", "onehot"]
MAX_CLASSES = 10_000
FEW_CLASSES = 10  # up to so many different whole numbers are classes, however few samples there are
SAMPLES_PER_CLASS = 10  # more whole numbers than this share of the samples allows may as well be values
TEXT = "UST"  # kinds of numpy's text types


def reading(where: str, name: str, targets: Sequence[np.ndarray], asked: Labels, promised: bool | None) -> Reading:
    """Decide how targets are read.

    Args:
        where: The beginning of an error message.
        name: What the message calls the targets.
        targets: The targets of the training samples and, where there are any, of the test samples: (n,) or (n, C).
        asked: The setting ``labels``.
        promised: True if the targets were planned as classes, False if as values; None if nothing was planned.

    Returns:
        The reading to apply to all targets.

    Raises:
        UserError: The targets do not fit ``asked``, or ``asked`` is "auto" and they can be read in two ways.
    """
    single = all(y.ndim == 1 or y.shape[1] == 1 for y in targets)
    text = any(y.dtype.kind in TEXT for y in targets)
    if text and (asked == "values" or not single):
        raise UserError(f"{where}: {name} holds text, which cannot be the target of a regression")
    if text and not all(y.dtype.kind in TEXT for y in targets):
        raise UserError(f"{where}: {name} holds text for some samples and numbers for others; make them agree")
    if not text:
        _check_finite(where, name, targets)
    if asked == "onehot":
        _check_one_hot(where, name, targets, single)
    if asked == "classes" and not single:
        raise UserError(
            f"{where}: {name} has more than one column, and labels: classes needs one label per sample; use labels: "
            f"onehot or labels: values"
        )
    if asked != "auto":
        return asked
    whole = single and all(y.dtype.kind != "f" for y in targets)
    if whole and (text or not _many_values(targets)):
        return "classes"
    doubt: Reading | None = None
    if whole or (single and _repeat_as_classes(targets)):
        doubt = "classes"
    elif not single and all(bool(are_one_hot(y).all()) for y in targets):
        doubt = "onehot"
    if doubt is not None and promised is None:
        raise UserError(f"{where}: {name} {_both_readings(targets, doubt)}")
    return doubt if doubt is not None and promised else "values"


def are_one_hot(rows: np.ndarray) -> np.ndarray:
    """Mark the rows of (n, C) numbers that have a single 1 among zeros: (n,) true/false."""
    found: np.ndarray = ((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1)
    return found


def _check_finite(where: str, name: str, targets: Sequence[np.ndarray]) -> None:
    """Refuse targets with values that are missing, infinite or too large for float32."""
    for y in targets:
        with np.errstate(over="ignore"):
            if not np.isfinite(y.astype(np.float32)).all():
                raise UserError(
                    f"{where}: {name} has values that are missing, infinite or beyond float32; remove or replace them"
                )


def _check_one_hot(where: str, name: str, targets: Sequence[np.ndarray], single: bool) -> None:
    """Refuse targets that are not rows with a single 1 among zeros."""
    if single:
        raise UserError(
            f"{where}: {name} is one column, and labels: onehot needs one column per class; use labels: classes"
        )
    for y in targets:
        wrong = ~are_one_hot(y)
        if wrong.any():
            row = int(wrong.argmax())
            raise UserError(
                f"{where}: labels: onehot needs rows with a single 1 and else 0; row {row + 1} of {name} is "
                f"{np.array2string(y[row], threshold=6)}; use labels: values".replace("\n", "")
            )


def _many_values(targets: Sequence[np.ndarray]) -> bool:
    """Return True if whole numbers take many values: more than ten, and fewer than ten samples for each."""
    values, samples = _distinct(targets), sum(map(len, targets))
    return len(values) > max(FEW_CLASSES, samples // SAMPLES_PER_CLASS)


def _repeat_as_classes(targets: Sequence[np.ndarray]) -> bool:
    """Return True if floating-point targets are whole numbers that repeat: at most half as many values as samples."""
    if not all(bool((y == np.floor(y)).all()) for y in targets):
        return False
    samples = sum(map(len, targets))
    return 2 <= len(_distinct(targets)) <= min(max(2, samples // 2), MAX_CLASSES)


def _distinct(targets: Sequence[np.ndarray]) -> np.ndarray:
    """Return the different values of targets, in ascending order."""
    return np.unique(np.concatenate([y.reshape(-1) for y in targets]))


def _both_readings(targets: Sequence[np.ndarray], doubt: Reading) -> str:
    """Describe the two ways in which targets can be read, and the settings that choose between them."""
    if doubt == "onehot":
        count = targets[0].shape[1]
        return (
            f"has rows with a single 1 and else 0, which can be {count} classes or {count} outputs of a regression; "
            f"say labels: onehot for classes, or labels: values for a regression"
        )
    values = _distinct(targets)
    shown = ", ".join(str(value) for value in values[:3].tolist()) + (", ..." if len(values) > 3 else "")
    found = "whole numbers with a decimal point" if values.dtype.kind == "f" else "many different whole numbers"
    return (
        f"holds {found} ({shown}), which can be {len(values)} classes or values of a "
        f"regression; say labels: classes, or labels: values for a regression"
    )
