"""Reading and writing of the long tables between the stages, as parquet files with a stamp.

A table is written to a temporary name in its own folder and renamed, so that a reader sees all of it or none. Values
have the checksums of parquet pages, and a digest in the metadata covers the stamp, the columns and the number of rows,
so that corrupted files are detected. The stamp says what the table was made from.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nfa.digests import KEY, digest
from nfa.errors import UserError, one_line
from nfa.storage.atomic import remove, replacing

STAMP = "nfa"  # key of our metadata in a parquet file
# With checksums: without them a corrupted file could be read as other numbers, even if it is compressed.
WRITING: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
# Most errors of pyarrow are ValueErrors; zipfile and pyarrow raise others for content that they do not know.
UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)


def write_table(path: Path, frame: pd.DataFrame, schema: pa.Schema, stamp: dict[str, Any] | None = None) -> None:
    """Write a frame as parquet with exactly the schema's columns and dtypes, whole or not at all.

    The stamp, which says what the table was made from, goes to the metadata of the file; ``read_stamp`` reads it.

    Raises:
        KeyError: A column of the schema is missing from the frame.
        pyarrow.ArrowInvalid: A value does not fit its column.
    """
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(_metadata(table.schema, len(table), stamp)), temporary, **WRITING)


def _metadata(schema: pa.Schema, rows: int, stamp: dict[str, Any] | None = None) -> dict[str, str]:
    """Make the metadata of a table: the stamp, and a digest of the stamp, the columns and the number of rows.

    These three are at the end of a parquet file, which has no checksum; the values have checksums of their own.
    """
    document = {**(stamp or {}), KEY: digest({"stamp": stamp or {}, **_layout(schema, rows)})}
    return {STAMP: json.dumps(document, sort_keys=True)}


def _layout(schema: pa.Schema, rows: int) -> dict[str, Any]:
    """Describe the columns of a table and its number of rows, by the types that a parquet file preserves.

    A categorical column may be read back with the type of its categories, and large text as text.
    """
    kinds = [str(kind.value_type if pa.types.is_dictionary(kind) else kind) for kind in schema.types]
    kinds = [kind.removeprefix("large_") for kind in kinds]
    return {"columns": list(zip(schema.names, kinds, strict=True)), "rows": rows}


def _checked_stamp(schema: pa.Schema, rows: int, metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return the stamp in the metadata of a table with these columns and this number of rows.

    Raises:
        ValueError: The stamp, the columns or the number of rows are not what was written.
    """
    stamp = dict(json.loads((metadata or {}).get(STAMP.encode(), b"{}")))
    if stamp.pop(KEY, None) != digest({"stamp": stamp, **_layout(schema, rows)}):
        raise ValueError("the end of the file is not what was written")
    return stamp


def read_stamp(path: Path) -> dict[str, Any]:
    """Read the stamp of a table; it is empty if none was written.

    Raises:
        OSError, ValueError: The table is missing or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            return _checked_stamp(file.schema_arrow, file.metadata.num_rows, file.metadata.metadata)
    except RuntimeError as error:  # pyarrow raises NotImplementedError for a type it does not know
        raise ValueError(str(error)) from None


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a derived table as ``path``.parquet and ``path``.csv, each whole or not at all."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata(_metadata(table.schema, len(table)))
    with replacing(path.with_name(path.name + ".parquet")) as temporary:
        pq.write_table(table, temporary, **WRITING)
    with replacing(path.with_name(path.name + ".csv")) as temporary:
        frame.to_csv(temporary, index=False)


class LongTables:
    """Tables that are written piece by piece, as parquet alone.

    All of them are put in place when the ``with`` block ends without an error.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        """Store the names; nothing is written yet."""
        self._folder, self._names = folder, tuple(names)
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._rows: dict[str, int] = {}
        self._temporary: dict[str, Path] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "LongTables":
        """Open temporary files."""
        for name in self._names:
            self._temporary[name] = self._stack.enter_context(replacing(self._folder / f"{name}.parquet"))
        return self

    def __exit__(self, *error: Any) -> None:
        """On success put the tables in place and remove csv files of an earlier sweep; on error change nothing."""
        for name, writer in self._writers.items():
            writer.add_key_value_metadata(_metadata(writer.schema, self._rows[name]))
            writer.close()
        self._stack.__exit__(*error)
        if error[0] is None:
            for name in self._names:
                remove(self._folder / f"{name}.csv")

    def add(self, name: str, frame: pd.DataFrame) -> None:
        """Append rows, which must have the columns and types of the rows before them."""
        writer = self._writers.get(name)
        schema = None if writer is None else writer.schema
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(None)
        if writer is None:
            path = self._temporary[name]
            writer = self._writers[name] = pq.ParquetWriter(path, table.schema, **WRITING)
        writer.write_table(table)
        self._rows[name] = self._rows.get(name, 0) + len(table)


def write_output(path: Path, frame: pd.DataFrame, schema: pa.Schema) -> None:
    """Write a table to a file that the user named: parquet if the name ends in .parquet, otherwise csv."""
    if path.suffix == ".parquet":
        write_table(path, frame, schema)
    else:
        with replacing(path) as temporary:
            frame.to_csv(temporary, index=False)


def read_table(path: Path) -> pd.DataFrame:
    """Read one parquet table."""
    return read_arrow(path).to_pandas()  # type: ignore[no-any-return]


def read_written(path: Path, by: str = "aggregate") -> pd.DataFrame:
    """Read a table for the user, with a one-line error.

    Args:
        path: The table.
        by: The stage that writes it.

    Raises:
        UserError: The table is missing or damaged; the line names the stage that writes it.
    """
    try:
        return read_table(path)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; is this a sweep's results? `nfa {by}` writes it") from None
    except UNREADABLE as error:
        raise UserError(f"{path}: damaged ({one_line(str(error), 80)}); `nfa {by}` writes it again") from None


def read_arrow(path: Path) -> pa.Table:
    """Read one parquet table, with its stamp in its metadata, and verify all checksums.

    This takes a third of the time of pyarrow's ``read_table``, which looks for a data set of many files first.

    Raises:
        OSError, ValueError: The table is missing or damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
            if any(map(pa.types.is_dictionary, table.schema.types)):
                table.validate(
                    full=True
                )  # after damage to the end of the file, codes may point to categories that do not exist
            stored = file.metadata.metadata  # not in the schema if it was added when the file was closed
            _checked_stamp(file.schema_arrow, len(table), stored)
            return table.replace_schema_metadata({**(table.schema.metadata or {}), STAMP: stored[STAMP.encode()]})
    except RuntimeError as error:  # pyarrow raises NotImplementedError for a type it does not know
        raise ValueError(str(error)) from None


def stamp_of(table: pa.Table) -> dict[str, Any]:
    """Return the stamp of a table that was read by ``read_arrow``."""
    return _checked_stamp(table.schema, len(table), table.schema.metadata)


def array_names(path: Path) -> list[str]:
    """List the arrays of an .npz archive.

    Every array has a checksum, but a list that has lost an entry is read without an error. The list is therefore
    compared with the number of entries at the end of the file.

    Raises:
        OSError, ValueError, RuntimeError, BadZipFile: The archive is missing or damaged.
    """
    with np.load(path, allow_pickle=False) as archive, path.open("rb") as file:
        file.seek(-12, os.SEEK_END)
        entries = int.from_bytes(file.read(2), "little")
        if entries != min(
            len(archive.files), 0xFFFF
        ):  # the field has two bytes, which is the largest number it can hold
            raise ValueError("its list of arrays is not what was written")
        return list(archive.files)
