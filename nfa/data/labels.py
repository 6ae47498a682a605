"""How targets are read: as classes, as values of a regression, or as one-hot rows.

Whole numbers, text and true/false, one per sample, are classes; numbers with decimals are values. Two kinds of targets
can be read in two ways, and the setting ``labels`` must then say which: whole numbers stored as floating-point numbers,
and rows with a single one among zeros.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from nfa.errors import UserError

Labels = Literal["auto", "classes", "values", "onehot"]
Reading = Literal["classes", "values", "onehot"]
MAX_CLASSES = 10_000
TEXT = "UST"  # kinds of numpy's text types


def reading(where: str, name: str, targets: Sequence[np.ndarray], asked: Labels, promised: bool | None) -> Reading:
    """Decide how targets are read.

    Args:
        where: The beginning of an error message.
        name: What the message calls the targets.
        targets: The targets of the training samples and, where there are any, of the test samples: (n,) or (n, C).
        asked: The setting ``labels``.
        promised: Whether they are classes, where that was said elsewhere; None where it was not.

    Raises:
        UserError: They do not fit what is asked, or can be read in two ways.
    """
    single = all(y.ndim == 1 or y.shape[1] == 1 for y in targets)
    text = any(y.dtype.kind in TEXT for y in targets)
    if text and (asked == "values" or not single):
        raise UserError(f"{where}: {name} holds text, which is no target of a regression")
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
    if single and all(y.dtype.kind != "f" for y in targets):
        return "classes"
    doubt: Reading | None = None
    if single and _could_be_classes(targets):
        doubt = "classes"
    elif not single and all(bool(are_one_hot(y).all()) for y in targets):
        doubt = "onehot"
    if doubt is not None and promised is None:
        raise UserError(f"{where}: {name} {_both_readings(targets, doubt)}")
    return doubt if doubt is not None and promised else "values"


def are_one_hot(rows: np.ndarray) -> np.ndarray:
    """Tell which rows of (n, C) numbers have a single one among zeros: (n,) true/false."""
    found: np.ndarray = ((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1)
    return found


def _check_finite(where: str, name: str, targets: Sequence[np.ndarray]) -> None:
    """Refuse values that are missing, or that are no finite numbers once they are float32."""
    for y in targets:
        with np.errstate(over="ignore"):
            if not np.isfinite(y.astype(np.float32)).all():
                raise UserError(
                    f"{where}: {name} has values that are missing, infinite or beyond float32; remove or replace them"
                )


def _check_one_hot(where: str, name: str, targets: Sequence[np.ndarray], single: bool) -> None:
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


def _could_be_classes(targets: Sequence[np.ndarray]) -> bool:
    """Whether floating-point targets are whole numbers that repeat: at most half as many values as samples."""
    if not all(bool((y == np.floor(y)).all()) for y in targets):
        return False
    values = np.concatenate([y.reshape(-1) for y in targets])
    return 2 <= len(np.unique(values)) <= min(max(2, len(values) // 2), MAX_CLASSES)


def _both_readings(targets: Sequence[np.ndarray], doubt: Reading) -> str:
    """Say in which two ways targets can be read, and which settings choose between them."""
    if doubt == "onehot":
        count = targets[0].shape[1]
        return (
            f"has rows with a single 1 and else 0, which can be {count} classes or {count} outputs of a regression; "
            f"say labels: onehot for classes, or labels: values for a regression"
        )
    values = np.unique(np.concatenate([y.reshape(-1) for y in targets]))
    shown = ", ".join(str(float(value)) for value in values[:3]) + (", ..." if len(values) > 3 else "")
    return (
        f"holds whole numbers with a decimal point ({shown}), which can be {len(values)} classes or values of a "
        f"regression; say labels: classes, or labels: values for a regression"
    )
