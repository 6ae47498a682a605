"""Read a .csv or .parquet table: choose the columns that are inputs, check all values, and refuse doubtful columns.

A table has one row per sample. Its inputs are the columns that the setting ``features`` lists. Without that setting
they are all columns but the targets, the column ``split``, and an index that pandas wrote into a .parquet file; then
columns that may give the target away are refused (see ``nfa.data.suspects``).
"""

import csv
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nfa.data.suspects import classes_of, why_suspect
from nfa.errors import UserError, nearest, one_line

SPLIT = "split"
KEPT_BYTES = 1 << 24  # inputs of at most this size stay in memory between planning and loading
NAMED = 30  # most columns that a message names
NUMBERS = "fiub"  # kinds of numpy's number types
PANDAS_INDEX = "the index that pandas wrote"
_UNNAMED = re.compile(r"\s*|Unnamed: \d+.*|__index_level_\d+__")  # names that pandas gives to columns without one


@dataclass(frozen=True)
class LoadedTable:
    """The checked content of a table.

    Attributes:
        features: The columns that are inputs, in order.
        left_out: Columns that are not used -> the reason.
        rows: Split -> (n,) mask of its rows: "_train" and "_test", or "" for all rows if there is no split.
        y: (n,) or (n, C) targets: numbers, true/false or text.
        x: (n, d) float64 inputs, or None if they are too large to keep.
    """

    features: tuple[str, ...]
    left_out: Mapping[str, str]
    rows: Mapping[str, np.ndarray]
    y: np.ndarray
    x: np.ndarray | None


@lru_cache(maxsize=16)
def read_table(path: Path, digest: str, targets: tuple[str, ...], wanted: tuple[str, ...]) -> LoadedTable:
    """Read and check a table.

    Args:
        path: The file.
        digest: Digest of the content; a file with the same digest is read once.
        targets: The target columns.
        wanted: The columns that are inputs; empty for all others.

    Raises:
        UserError: The file cannot be read, or a column is missing, doubtful or holds values that cannot be used.
    """
    names, index = _columns(path)
    _check_names(path, names, targets, wanted)
    features, left_out = _chosen(path, names, index, targets, wanted)
    split = [SPLIT] if SPLIT in names and SPLIT not in (*targets, *features) else []
    frame = _frame(path, names, [*targets, *split, *features])
    if len(frame) == 0:
        raise UserError(f"{path}: has a header and no rows; needs one row per sample")
    rows = _rows(path, frame[SPLIT]) if split else {"": np.ones(len(frame), bool)}
    y = np.stack([_labels(path, frame[name], name) for name in targets], axis=1)
    columns = {name: _numbers(path, frame[name], name) for name in features}
    if not wanted:
        _refuse_suspects(path, columns, y, rows)
    x = np.stack([values.astype(np.float64) for values in columns.values()], axis=1)
    y = y[:, 0] if len(targets) == 1 else y
    return LoadedTable(tuple(features), left_out, rows, y, x if x.nbytes <= KEPT_BYTES else None)


def inputs(path: Path, table: LoadedTable) -> np.ndarray:
    """Return the inputs of a table, (n, d) float64; they are read again if they were too large to keep."""
    if table.x is not None:
        return table.x
    frame = _frame(path, _columns(path)[0], list(table.features))
    return np.stack([frame[name].to_numpy().astype(np.float64) for name in table.features], axis=1)


def _columns(path: Path) -> tuple[list[str], set[str]]:
    """Return the names of all columns, and of those that are an index written by pandas."""
    if path.suffix == ".csv":
        return _csv_header(path), set()
    import pyarrow.parquet as pq

    schema = pq.ParquetFile(path).schema_arrow
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return list(schema.names), {name for name in index if isinstance(name, str)}


def _csv_header(path: Path) -> list[str]:
    """Read the names in the first line that is not blank; a column without a name gets the one that pandas gives."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for fields in csv.reader(stream):
            if len(fields) > 1 or "".join(fields).strip():
                return [name if name.strip() else f"Unnamed: {i}" for i, name in enumerate(fields)]
    raise UserError(f"{path}: is empty; needs a header and one row per sample")


def _check_names(path: Path, names: list[str], targets: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{path}: two columns are called {one_line(twice[0])}; rename one of them")
    if len(names) == 1 and set(names[0]) & set(";\t|"):
        raise UserError(
            f"{path}: one column, {one_line(names[0])}; a .csv file here has commas between columns, and a point in "
            f"decimals"
        )
    for name in (*targets, *wanted):
        if name not in names:
            listed = None if len(names) <= NAMED else f"the file has {len(names)} columns"
            raise UserError(f"{path}: no column {one_line(name)}; {nearest(name, names, listed)}")
    both = next((name for name in wanted if name in targets), None)
    if both is not None:
        raise UserError(f"{path}: column {one_line(both)} is the target, and features lists it; keep it in one of them")


def _chosen(
    path: Path, names: list[str], index: set[str], targets: tuple[str, ...], wanted: tuple[str, ...]
) -> tuple[list[str], dict[str, str]]:
    """Choose the columns that are inputs, and give the reason for every other column."""
    others = [name for name in names if name not in targets and name != SPLIT]
    if wanted:
        return list(wanted), {name: "not in features" for name in others if name not in wanted}
    left_out = {name: PANDAS_INDEX for name in others if name in index}
    features = [name for name in others if name not in left_out]
    if not features:
        raise UserError(f"{path}: has no column but {', '.join(names[:NAMED])}; needs features beside the target")
    unnamed = [name for name in features if _UNNAMED.fullmatch(name)]
    if unnamed:
        listed = dict.fromkeys(unnamed, "has no name in the header, like the index that pandas writes")
        raise _suspected(path, listed, features)
    return features, left_out


def _frame(path: Path, names: list[str], columns: list[str]) -> Any:
    """Read some columns of a table: a pandas DataFrame.

    A .csv file is read whole, because pandas does not notice rows of the wrong length when it reads some columns.
    """
    if path.suffix == ".csv":
        import pandas as pd

        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are longer than the header
            try:
                read: Any = pd.read_csv(path, header=0, names=names, index_col=False, low_memory=False)
            except pd.errors.ParserWarning:
                raise UserError(f"{path}: rows have more fields than the header; name every column") from None
            except pd.errors.ParserError as error:
                ragged = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
                if ragged is None:
                    raise
                expected, line, found = ragged.groups()
                raise UserError(f"{path}: line {line} has {found} values, but there are {expected} columns") from None
        return read[columns]
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table = file.read(columns=columns)
    for field in table.schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if not any(test(kind) for test in _parquet_types()):
            raise UserError(
                f"{_at(path, field.name)}: holds {one_line(str(field.type), 60)}, not numbers or text; convert it"
            )
    return table.to_pandas(ignore_metadata=True)[columns]


def _parquet_types() -> tuple[Any, ...]:
    from pyarrow import types

    text = (types.is_string, types.is_large_string, types.is_string_view)
    return (types.is_integer, types.is_floating, types.is_boolean, types.is_null, *text)


def _rows(path: Path, column: Any) -> dict[str, np.ndarray]:
    """Mark the rows of each split."""
    splits = column.astype(str).to_numpy()
    odd = sorted({str(value) for value in splits} - {"train", "test"})
    if odd:
        raise UserError(f"{path}: column {SPLIT}: {one_line(odd[0])} is neither train nor test")
    return {"_train": splits == "train", "_test": splits == "test"}


def _at(path: Path, name: str) -> str:
    """Return the beginning of a message about a column."""
    return f"{path}: column {name if len(name) <= 60 else name[:57] + '...'}"


def _check_filled(path: Path, column: Any, name: str) -> None:
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax()) + 1
        raise UserError(
            f"{_at(path, name)}: row {row} has no value (an empty field, or a word such as NA or None); fill or remove "
            f"it"
        )


def _labels(path: Path, column: Any, name: str) -> np.ndarray:
    """Turn a target column into an array of numbers, true/false or text."""
    _check_filled(path, column, name)
    values: np.ndarray = column.to_numpy()
    if values.dtype.kind in NUMBERS:
        return values
    text = np.array([str(value) for value in values])
    bare: dict[str, str] = {}
    for label in np.unique(text).tolist():
        other = bare.setdefault(label.strip(), label)
        if other != label:
            both = f"{one_line(other, 40)} and {one_line(label, 40)}"
            raise UserError(f"{_at(path, name)}: {both} differ in blanks only; make them one")
    return text


def _numbers(path: Path, column: Any, name: str) -> np.ndarray:
    """Turn a column into numbers that are finite in float32."""
    values: np.ndarray = column.to_numpy()
    if values.dtype.kind not in NUMBERS:
        _refuse_text(path, column, name)
    _check_filled(path, column, name)
    with np.errstate(over="ignore"):
        beyond = ~np.isfinite(values.astype(np.float32))
    if beyond.any():
        row = int(beyond.argmax())
        raise UserError(
            f"{_at(path, name)}: row {row + 1} is {values[row]}, infinite or beyond float32; replace or remove it"
        )
    return values


def _refuse_text(path: Path, column: Any, name: str) -> None:
    """Refuse a column that holds text; one that only lacks values is left to the check for missing values."""
    import pandas as pd

    missing = column.isna()
    wrong = (pd.to_numeric(column.astype(object), errors="coerce").isna() & ~missing).to_numpy()
    if not wrong.any() and missing.any():
        return
    row = int(wrong.argmax())
    raise UserError(
        f"{_at(path, name)}: not numbers (row {row + 1} is {one_line(column.iloc[row], 40)}); encode it as numbers, "
        f"remove it, or list the columns that are inputs in features"
    )


def _refuse_suspects(
    path: Path, columns: Mapping[str, np.ndarray], y: np.ndarray, rows: Mapping[str, np.ndarray]
) -> None:
    """Refuse columns that may give the target away, all of them in one message."""
    classes, parts = classes_of(y), list(rows.values())
    reasons = {name: why_suspect(values, y, classes, parts) for name, values in columns.items()}
    found = {name: why for name, why in reasons.items() if why}
    if found:
        raise _suspected(path, found, list(columns))


def _suspected(path: Path, found: Mapping[str, str], features: list[str]) -> UserError:
    """Make the error for columns that may give the target away; the message shows how to leave them out or in."""
    listed = "; ".join(f"column {one_line(name, 60)} {why}" for name, why in list(found.items())[:3])
    more = f"; and {len(found) - 3} more columns" if len(found) > 3 else ""
    rest = [name for name in features if name not in found] or features
    example = ", ".join(rest[:5]) + (", ..." if len(rest) > 5 else "")
    return UserError(
        f"{path}: {listed}{more}; it can give the target away: remove the column from the file, or leave it out by "
        f"features: [{example}], or, if it is a real input, name it there, too"
    )
