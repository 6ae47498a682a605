"""The user's own file: .npz arrays, or a .csv or .parquet table. Nothing in it is ever unpickled.

A table has one row per sample: the column ``target`` (or those named), perhaps a column ``split`` with ``train`` and
``test``, and features in all others. What an .npz file must hold is told in ``nfa.data.arrays``. The file's digest is
part of a cell's identity: a changed file is another cell. Planning reads headers and labels and, once per process, the
file for its digest.
"""

import hashlib
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from nfa.data.arrays import ArrayOptions, Header, Layout, assemble, plan
from nfa.data.options import STANDARDISE, Standardise
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.errors import UserError, nearest
from nfa.settings import setting

SUFFIXES = (".npz", ".csv", ".parquet")
SPLIT = "split"


class File(ArrayOptions):
    """Settings of ``file``."""

    name: Literal["file"] = "file"
    path: str = setting(..., "a .npz, .csv or .parquet file", min_length=1)
    target: str = setting("target", "the column of a table that is to be predicted", min_length=1)
    targets: str = setting("", "several such columns, of a regression, in place of target: 'y1, y2'")
    standardise: Standardise = setting("per_channel", STANDARDISE)

    @model_validator(mode="after")
    def _fits(self) -> "File":
        if Path(self.path).suffix not in SUFFIXES:
            raise ValueError(f"path: {self.path!r} is none of {', '.join(SUFFIXES)}")
        if self.targets and "target" in self.model_fields_set:
            raise ValueError("targets: given beside target; keep one of them")
        if Path(self.path).suffix == ".npz" and {"target", "targets"} & self.model_fields_set:
            raise ValueError("target: names a column of a table, and a .npz file has none; leave it out")
        return self

    def columns(self) -> list[str]:
        """Name the columns to be predicted."""
        return [name.strip() for name in self.targets.split(",") if name.strip()] or [self.target]


Source = tuple[dict[str, Header], Callable[[str], np.ndarray]]  # headers by name, and a reader of arrays by name


def shape(settings: File) -> DataShape:
    """Describe the file from its headers and labels.

    Raises:
        UserError: It is not there, or not as it must be.
    """
    return _layout(settings, _stamp(settings.path)).shape


def load(settings: File, generator: np.random.Generator) -> Data:
    """Read the file.

    Raises:
        UserError: It is not there, or not as it must be.
    """
    layout = _layout(settings, _stamp(settings.path))
    return assemble(settings.path, layout, _source(settings)[1], settings, generator)


def identity(settings: File) -> dict[str, Any]:
    """Return what identifies the data beside their settings: the file's SHA-256."""
    return {"sha256": _digest(settings.path, _stamp(settings.path))}


def _stamp(path: str) -> tuple[int, int]:
    """Return the time of modification and the size of a file: while they stay, it is not read again."""
    try:
        found = Path(path).expanduser().stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (in {Path.cwd()})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=1000)
def _digest(path: str, stamp: tuple[int, int]) -> str:
    try:
        with Path(path).expanduser().open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


@lru_cache(maxsize=1000)
def _layout(settings: File, stamp: tuple[int, int]) -> Layout:
    return plan(settings.path, *_source(settings), settings)


def _source(settings: File) -> Source:
    path = Path(settings.path).expanduser()
    try:
        return _npz(path) if path.suffix == ".npz" else _table(path, settings)
    except UserError:
        raise
    except Exception as error:  # zipfile, numpy, pandas and pyarrow each have their own
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    told = " ".join(f"{type(error).__name__}: {error}".split())
    return UserError(f"{path}: cannot be read as {path.suffix} ({told[:160]})")


def _npz(path: Path) -> Source:
    """Read the headers of an .npz file's arrays."""
    headers: dict[str, Header] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                is_first = version == (1, 0)
                read_header = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
                shape, _, dtype = read_header(stream)
            headers[member.removesuffix(".npy")] = (shape, dtype)
    pickled = [name for name, (_, dtype) in headers.items() if dtype.hasobject]
    if pickled:
        raise UserError(f"{path}: {pickled[0]!r} holds Python objects, which are not read; save plain arrays")

    def read(name: str) -> np.ndarray:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                array: np.ndarray = arrays[name]
        except Exception as error:
            raise _unreadable(path, error) from None
        return array

    return headers, read


def _table(path: Path, settings: File) -> Source:
    """Read the target columns and the split of a table, and name its features."""
    names = _column_names(path)
    targets = settings.columns()
    for name in targets:
        if name not in names:
            raise UserError(f"{path}: no column {name!r}; {nearest(name, names)}")
    features = [name for name in names if name not in targets and name != SPLIT]
    if not features:
        raise UserError(f"{path}: no column but {', '.join(names)}; needs features beside the target")
    split = [SPLIT] if SPLIT in names and SPLIT not in targets else []
    known = _frame(path, targets + split)
    rows = {"": np.ones(len(known), bool)}
    if split:
        told = known[SPLIT].astype(str).to_numpy()
        odd = sorted(set(told) - {"train", "test"})
        if odd:
            raise UserError(f"{path}: column {SPLIT}: {odd[0]!r} is neither train nor test")
        rows = {"_train": told == "train", "_test": told == "test"}
    y = np.stack([_labels(path, known[name], name) for name in targets], axis=1)
    y = y[:, 0] if len(targets) == 1 else y
    headers: dict[str, Header] = {}
    for part, mask in rows.items():
        headers[f"x{part}"] = ((int(mask.sum()), len(features)), np.dtype(np.float64))
        headers[f"y{part}"] = ((int(mask.sum()), *y.shape[1:]), y.dtype)

    def read(name: str) -> np.ndarray:
        mask = rows[name[1:]]
        return y[mask] if name.startswith("y") else _features(path, features)[mask]

    return headers, read


def _column_names(path: Path) -> list[str]:
    if path.suffix == ".csv":
        import pandas as pd

        return [str(name) for name in pd.read_csv(path, nrows=0).columns]
    import pyarrow.parquet as pq

    return [str(name) for name in pq.ParquetFile(path).schema_arrow.names]


def _frame(path: Path, columns: list[str]) -> Any:
    """Read some columns of a table: a pandas DataFrame."""
    import pandas as pd

    if path.suffix == ".csv":
        return pd.read_csv(path, usecols=columns)
    return pd.read_parquet(path, columns=columns)


def _labels(path: Path, column: Any, name: str) -> np.ndarray:
    """Turn a target column into an array of numbers, true/false or text."""
    if column.isna().any():
        raise UserError(f"{path}: column {name}: row {int(column.isna().to_numpy().argmax()) + 1} has no value")
    values = column.to_numpy()
    return values if values.dtype.kind in "fiub" else np.array([str(value) for value in values])


def _features(path: Path, features: list[str]) -> np.ndarray:
    """Read the features: (n, d) float64."""
    try:
        frame = _frame(path, features)[features]
    except Exception as error:
        raise _unreadable(path, error) from None
    for name in features:
        if frame[name].to_numpy().dtype.kind not in "fiub":
            raise UserError(
                f"{path}: column {name}: not numbers; leave the column out, or name it as the target (a missing value "
                f"is an empty field)"
            )
        if frame[name].isna().any():
            row = int(frame[name].isna().to_numpy().argmax()) + 1
            raise UserError(f"{path}: column {name}: row {row} has no value; fill or remove it")
    values: np.ndarray = frame.to_numpy(dtype=np.float64)
    return values


ENTRY = DataEntry(File, shape, load, "your own .npz, .csv or .parquet file", identity)
