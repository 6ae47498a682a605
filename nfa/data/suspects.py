"""Find columns of a table that give the target away: numbers of the rows, and copies of the target.

A table that pandas wrote with its index has the number of the row as its first column. If the rows are sorted by class,
this number alone determines the class, and a network trained on it learns nothing else.
"""

from collections.abc import Sequence

import numpy as np

ROWS = 10  # a table of fewer rows is not examined: there a column can look like a row number or the target by chance
FIRST_LOOK = 1000  # rows compared first, which clear most columns


def classes_of(targets: np.ndarray) -> np.ndarray | None:
    """Number the classes that (n, C) targets may stand for: (n,) whole numbers; None if a target has decimals."""
    if targets.dtype.kind == "f" and not (targets == np.floor(targets)).all():
        return None
    codes = np.zeros(len(targets), np.int64)
    for target in targets.T:
        numbered = np.unique(target, return_inverse=True)[1]
        codes = np.unique(codes * (numbered.max() + 1) + numbered, return_inverse=True)[1]
    return codes


def why_suspect(
    values: np.ndarray, targets: np.ndarray, classes: np.ndarray | None, parts: Sequence[np.ndarray]
) -> str:
    """Explain why a column may give the target away.

    Args:
        values: (n,) numbers of the column.
        targets: (n, C) target columns: numbers, or text.
        classes: (n,) their classes by number, as ``classes_of`` gives them.
        parts: (n,) true/false masks of the rows of each split.

    Returns:
        A phrase that follows the column's name in a message; empty for an ordinary column.
    """
    if len(values) < ROWS:
        return ""
    return _of_target(values, targets, classes) or _of_rows(values, parts)


def _of_rows(values: np.ndarray, parts: Sequence[np.ndarray]) -> str:
    """Explain why a column looks like the number of the row, in this order or in another; empty if it does not."""
    if not (values == np.floor(values)).all():
        return ""
    low, high, n = values.min(), values.max(), len(values)
    shown = f"{_shown(values[0])}, {_shown(values[1])}, ..., {_shown(values[-1])}"
    for step, word in ((1, "rise"), (-1, "fall")):
        if _strict(values, step):
            return f"holds whole numbers that only {word} from row to row ({shown}), as the number of a row does"
        several = len(parts) > 1 and all(part.sum() >= ROWS for part in parts)
        if several and all(_strict(values[part], step) for part in parts):
            return f"holds whole numbers that only {word} from row to row in each split, as the number of a row does"
    if float(high) - float(low) == n - 1 and len(np.unique(values)) == n:
        return f"holds each whole number from {_shown(low)} to {_shown(high)} once, as the number of a row does"
    return ""


def _strict(values: np.ndarray, step: int) -> bool:
    """Return True if values only rise (step 1) or only fall (step -1)."""
    values = values[::step]
    return all(bool((part[1:] > part[:-1]).all()) for part in (values[:FIRST_LOOK], values))


def _of_target(values: np.ndarray, targets: np.ndarray, classes: np.ndarray | None) -> str:
    """Explain why a column looks like a copy of the target, or of its classes under other values; empty if not."""
    if targets.dtype.kind in "fiub" and any(np.array_equal(values, target) for target in targets.T):
        return "equals the target in every row"
    if (
        classes is None
        or not _one_to_one(values[:FIRST_LOOK], classes[:FIRST_LOOK])
        or not _one_to_one(values, classes)
    ):
        return ""
    if not 2 <= len(np.unique(values)) <= len(values) // 2:
        return ""
    return "goes one to one with the target: it names the same classes with other values"


def _one_to_one(values: np.ndarray, classes: np.ndarray) -> bool:
    """Return True if equal values always go with equal classes, and equal classes with equal values."""
    count = len(np.unique(classes))
    numbered = np.unique(values, return_inverse=True)[1]
    pairs = len(np.unique(numbered * (int(classes.max()) + 1) + classes))
    return pairs == count == int(numbered.max()) + 1


def _shown(value: np.generic) -> str:
    return f"{int(value):d}"
