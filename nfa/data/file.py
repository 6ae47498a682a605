"""Data from the user's file: arrays in an .npz file, or a .csv or .parquet table. No file is ever unpickled.

``nfa.data.table`` describes the form of a table, ``nfa.data.arrays`` that of an .npz file. The file's digest is part of
a cell's identity, so a changed file makes another cell. Planning reads and checks the whole file, so that an unusable
file is refused before any job runs. A process reads a file once, as long as its time of modification and size stay.
"""

import csv
import hashlib
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import WithJsonSchema, model_validator

from nfa.data import npz
from nfa.data.arrays import ArrayOptions, ArrayPlan, Header, assemble, check_inputs, plan
from nfa.data.options import STANDARDISE, Standardise
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.data.table import LoadedTable, inputs, read_table
from nfa.entries import setting
from nfa.errors import UserError, one_line

SUFFIXES = (".npz", ".csv", ".parquet")
# A text with commas or a list is one value; a list of lists is a grid.
ColumnNames = Annotated[
    str,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "integer"]}}]}),
]


class File(ArrayOptions):
    """Settings of ``file``."""

    name: Literal["file"] = "file"
    path: str = setting(..., "a .npz, .csv or .parquet file", min_length=1)
    target: str = setting("target", "the column of a table that is predicted", min_length=1)
    targets: str = setting("", "several target columns of a regression, in place of target: 'y1, y2'")
    features: ColumnNames = setting(
        "",
        "the columns of a table that are inputs, [a, b]; all others if not given, and none may look like an index",
    )
    standardise: Standardise = setting("per_channel", STANDARDISE)

    lists: ClassVar[frozenset[str]] = frozenset({"features"})

    @model_validator(mode="before")
    @classmethod
    def _features_as_text(cls, content: Any) -> Any:
        """Write a list of column names as one text, so that both forms give the same cell."""
        if not isinstance(content, Mapping) or "features" not in content:
            return content
        given = content["features"]
        names = _listed(given) if isinstance(given, str) else given
        if not isinstance(names, list) or not names or not all(type(n) in (str, int) and n != "" for n in names):
            raise ValueError(f"features: {one_line(given)} is not a list of column names; write e.g. [age, height]")
        names = [str(name) for name in names]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise ValueError(f"features: {one_line(twice)} is listed twice; keep it once")
        return {**content, "features": _written(names)}

    @model_validator(mode="after")
    def _fits(self) -> "File":
        if Path(self.path).suffix not in SUFFIXES:
            raise ValueError(f"path: {one_line(self.path)} does not end in .npz, .csv or .parquet")
        if self.targets and "target" in self.model_fields_set:
            raise ValueError("targets: target is given too; keep one of them")
        for key in ("target", "targets", "features"):
            if Path(self.path).suffix == ".npz" and key in self.model_fields_set:
                raise ValueError(f"{key}: names a column of a table, and a .npz file has none; leave it out")
        return self

    def columns(self) -> tuple[str, ...]:
        """Return the names of the target columns."""
        return tuple(name.strip() for name in self.targets.split(",") if name.strip()) or (self.target,)


def _listed(text: str) -> list[str]:
    """Split a text into column names at commas; a name with a comma is quoted."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return [name for name in names if name]


def _written(names: list[str]) -> str:
    """Write column names as a text that ``_listed`` splits into the same names."""
    special = re.compile(r'[",\r\n]|^\s|\s$')
    return ", ".join('"' + name.replace('"', '""') + '"' if special.search(name) else name for name in names)


@dataclass(frozen=True)
class Source:
    """The arrays of a file, which are read on request.

    Attributes:
        headers: Name of each array -> its shape and number type.
        read: Name -> array.
        target: What an error message calls the targets; None for the name of their array.
        left_out: Columns that are not used -> the reason.
    """

    headers: Mapping[str, Header]
    read: Callable[[str], np.ndarray]
    target: str | None
    left_out: Mapping[str, str]


def shape(settings: File) -> DataShape:
    """Describe the file: an .npz file from its headers and targets, a table from its whole content.

    Raises:
        UserError: The file is missing or cannot be used.
    """
    return _layout(settings, _digest(settings.path, _stamp(settings.path))).shape


def check(settings: File) -> None:
    """Check the inputs of an .npz file, at which ``shape`` does not look.

    Raises:
        UserError: An array is cut off, or a value is missing, not finite, or not a token.
    """
    path, digest = _place(settings.path), _digest(settings.path, _stamp(settings.path))
    if path.suffix == ".npz":
        for name, _ in _layout(settings, digest).parts:
            with _one_line_errors(path):
                low, high = npz.extremes(path, digest, name)
            check_inputs(settings.path, name, low, high, settings)


def load(settings: File, generator: np.random.Generator) -> Data:
    """Read the file.

    Raises:
        UserError: The file is missing or cannot be used.
    """
    digest = _digest(settings.path, _stamp(settings.path))
    return assemble(settings.path, _layout(settings, digest), _source(settings, digest).read, settings, generator)


def identity(settings: File) -> dict[str, Any]:
    """Identify the data by the file's SHA-256."""
    return {"sha256": _digest(settings.path, _stamp(settings.path))}


def left_out(settings: File) -> dict[str, str]:
    """Map the unused columns of a table to the reason."""
    return dict(_source(settings, _digest(settings.path, _stamp(settings.path))).left_out)


def _place(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~name of a user who does not exist
        raise UserError(f"{path}: no such home folder") from None


def _stamp(path: str) -> tuple[int, int]:
    """Return the time of modification and the size of a file, which is not read again while both stay the same."""
    try:
        found = _place(path).stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (in {Path.cwd()})") from None
    except (OSError, ValueError) as error:  # ValueError: a character that is not allowed in a path
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait, and reading a device may never end
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(found.st_mode), "a device")
        raise UserError(f"{path}: is {kind}; data are read from regular files")
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=1000)
def _digest(path: str, stamp: tuple[int, int]) -> str:
    try:
        with _place(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


@lru_cache(maxsize=1000)
def _layout(settings: File, digest: str) -> ArrayPlan:
    source = _source(settings, digest)
    return plan(settings.path, source.headers, source.read, settings, source.target)


def _source(settings: File, digest: str) -> Source:
    path = _place(settings.path)
    with _one_line_errors(path):
        if path.suffix != ".npz":
            table = read_table(path, digest, settings.columns(), tuple(_listed(settings.features)))
            return _of_table(path, table, settings)
        headers = npz.headers(path, digest)

    def read(name: str) -> np.ndarray:
        with _one_line_errors(path):
            return npz.read(path, name)

    return Source(headers, read, None, {})


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    """Turn any exception of reading a file into an error of one line: zipfile, numpy, pandas and pyarrow differ."""
    try:
        yield
    except UserError:
        raise
    except UnicodeDecodeError:
        raise UserError(f"{path}: cannot be read as {path.suffix}: not UTF-8 text; save it as UTF-8") from None
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: cannot be read as {path.suffix} ({reason[:160]})") from None


def _of_table(path: Path, table: LoadedTable, settings: File) -> Source:
    """Describe a table as arrays: x and y, or x_train, y_train, x_test and y_test if it has a column ``split``."""
    headers: dict[str, Header] = {}
    for part, mask in table.rows.items():
        headers[f"x{part}"] = ((int(mask.sum()), len(table.features)), np.dtype(np.float64))
        headers[f"y{part}"] = ((int(mask.sum()), *table.y.shape[1:]), table.y.dtype)

    def read(name: str) -> np.ndarray:
        with _one_line_errors(path):
            values = table.y if name.startswith("y") else inputs(path, table)
        part: np.ndarray = values[table.rows[name[1:]]]
        return part

    columns = settings.columns()
    target = (
        f"column {one_line(columns[0], 60)}" if len(columns) == 1 else f"targets {one_line(', '.join(columns), 60)}"
    )
    return Source(headers, read, target, table.left_out)


ENTRY = DataEntry(File, shape, load, "your own .npz, .csv or .parquet file", identity, check, left_out)
