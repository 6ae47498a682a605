"""The user's own file: .npz arrays, or a .csv or .parquet table. Nothing in it is ever unpickled.

``nfa.data.table`` tells what a table must be, ``nfa.data.arrays`` what an .npz file must hold. The file's digest is
part of a cell's identity: a changed file is another cell. Planning reads the file, so that whatever a job would refuse
is refused before anything runs; while its time of modification and its size stay, once per process.
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
# Text with commas, or a list: one value each, and not a grid.
ColumnNames = Annotated[
    str,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "integer"]}}]}),
]


class File(ArrayOptions):
    """Settings of ``file``."""

    name: Literal["file"] = "file"
    path: str = setting(..., "a .npz, .csv or .parquet file", min_length=1)
    target: str = setting("target", "the column of a table that is to be predicted", min_length=1)
    targets: str = setting("", "several such columns, of a regression, in place of target: 'y1, y2'")
    features: ColumnNames = setting(
        "",
        "the columns of a table that are inputs, [a, b]; if not given all others, and none may look like an index",
    )
    standardise: Standardise = setting("per_channel", STANDARDISE)

    lists: ClassVar[frozenset[str]] = frozenset({"features"})

    @model_validator(mode="before")
    @classmethod
    def _features_as_text(cls, content: Any) -> Any:
        """Write a list of column names as one text, which is what identifies it."""
        if not isinstance(content, Mapping) or "features" not in content:
            return content
        given = content["features"]
        names = _listed(given) if isinstance(given, str) else given
        if not isinstance(names, list) or not names or not all(type(n) in (str, int) and n != "" for n in names):
            raise ValueError(f"features: {one_line(given)} is no list of column names; write e.g. [age, height]")
        names = [str(name) for name in names]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise ValueError(f"features: {one_line(twice)} is listed twice; keep it once")
        return {**content, "features": _written(names)}

    @model_validator(mode="after")
    def _fits(self) -> "File":
        if Path(self.path).suffix not in SUFFIXES:
            raise ValueError(f"path: {one_line(self.path)} is none of {', '.join(SUFFIXES)}")
        if self.targets and "target" in self.model_fields_set:
            raise ValueError("targets: given beside target; keep one of them")
        for key in ("target", "targets", "features"):
            if Path(self.path).suffix == ".npz" and key in self.model_fields_set:
                raise ValueError(f"{key}: names a column of a table, and a .npz file has none; leave it out")
        return self

    def columns(self) -> tuple[str, ...]:
        """Name the columns to be predicted."""
        return tuple(name.strip() for name in self.targets.split(",") if name.strip()) or (self.target,)


def _listed(text: str) -> list[str]:
    """Take a text of column names apart: names are separated by commas, and quoted where one needs it."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return [name for name in names if name]


def _written(names: list[str]) -> str:
    """Write column names as the text that ``_listed`` takes apart."""
    special = re.compile(r'[",\r\n]|^\s|\s$')
    return ", ".join('"' + name.replace('"', '""') + '"' if special.search(name) else name for name in names)


@dataclass(frozen=True)
class Source:
    """The arrays that a file gives, before they are read.

    Attributes:
        headers: Shape and number type by name.
        read: Name -> array.
        target: What errors call the targets; None for their array's name.
        left_out: Columns that are not used, and why.
    """

    headers: Mapping[str, Header]
    read: Callable[[str], np.ndarray]
    target: str | None
    left_out: Mapping[str, str]


def shape(settings: File) -> DataShape:
    """Describe the file from its headers and labels; of a table, from all that it holds.

    Raises:
        UserError: It is not there, or not as it must be.
    """
    return _layout(settings, _digest(settings.path, _stamp(settings.path))).shape


def check(settings: File) -> None:
    """Refuse what ``load`` would refuse and ``shape`` did not look at: the inputs of an .npz file.

    Raises:
        UserError: An array is cut off, or has a value that is not as it must be.
    """
    path, digest = _place(settings.path), _digest(settings.path, _stamp(settings.path))
    if path.suffix == ".npz":
        for name, _ in _layout(settings, digest).parts:
            with _told(path):
                low, high = npz.extremes(path, digest, name)
            check_inputs(settings.path, name, low, high, settings)


def load(settings: File, generator: np.random.Generator) -> Data:
    """Read the file.

    Raises:
        UserError: It is not there, or not as it must be.
    """
    digest = _digest(settings.path, _stamp(settings.path))
    return assemble(settings.path, _layout(settings, digest), _source(settings, digest).read, settings, generator)


def identity(settings: File) -> dict[str, Any]:
    """Return what identifies the data beside their settings: the file's SHA-256."""
    return {"sha256": _digest(settings.path, _stamp(settings.path))}


def left_out(settings: File) -> dict[str, str]:
    """Name the columns of a table that are not used, and why."""
    return dict(_source(settings, _digest(settings.path, _stamp(settings.path))).left_out)


def _place(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~name of a user who is not there
        raise UserError(f"{path}: no such home folder") from None


def _stamp(path: str) -> tuple[int, int]:
    """Return the time of modification and the size of a file: while they stay, it is not read again."""
    try:
        found = _place(path).stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (in {Path.cwd()})") from None
    except (OSError, ValueError) as error:  # ValueError: a character that no path may have
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, and a device has no end
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
    with _told(path):
        if path.suffix != ".npz":
            table = read_table(path, digest, settings.columns(), tuple(_listed(settings.features)))
            return _of_table(path, table, settings)
        headers = npz.headers(path, digest)

    def read(name: str) -> np.ndarray:
        with _told(path):
            return npz.read(path, name)

    return Source(headers, read, None, {})


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn whatever reading a file raises into one line: zipfile, numpy, pandas and pyarrow each have their own."""
    try:
        yield
    except UserError:
        raise
    except UnicodeDecodeError:
        raise UserError(f"{path}: cannot be read as {path.suffix}: not UTF-8 text; save it as UTF-8") from None
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: cannot be read as {path.suffix} ({told[:160]})") from None


def _of_table(path: Path, table: LoadedTable, settings: File) -> Source:
    """Describe a table as arrays: x and y, or those of the training and of the test rows."""
    headers: dict[str, Header] = {}
    for part, mask in table.rows.items():
        headers[f"x{part}"] = ((int(mask.sum()), len(table.features)), np.dtype(np.float64))
        headers[f"y{part}"] = ((int(mask.sum()), *table.y.shape[1:]), table.y.dtype)

    def read(name: str) -> np.ndarray:
        with _told(path):
            values = table.y if name.startswith("y") else inputs(path, table)
        part: np.ndarray = values[table.rows[name[1:]]]
        return part

    columns = settings.columns()
    target = (
        f"column {one_line(columns[0], 60)}" if len(columns) == 1 else f"targets {one_line(', '.join(columns), 60)}"
    )
    return Source(headers, read, target, table.left_out)


ENTRY = DataEntry(File, shape, load, "your own .npz, .csv or .parquet file", identity, check, left_out)
