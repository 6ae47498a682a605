"""The long tables between the stages: their columns and dtypes, and how they are read and written.

A table is written to a temporary name in its own folder and renamed, so that a reader sees all of it or none.
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
# With checksums: a file whose bytes have changed on a disk would be read as other numbers, compressed or not.
WRITING: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
# Most of pyarrow's errors are ValueErrors; zipfile and pyarrow raise others for what they do not know.
UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)


def write_table(path: Path, frame: pd.DataFrame, schema: pa.Schema, stamp: dict[str, Any] | None = None) -> None:
    """Write a frame as parquet with exactly the schema's columns and dtypes, whole or not at all.

    ``stamp``, what the table was made from, goes to the file's metadata, where ``read_stamp`` finds it.

    Raises:
        KeyError: A column of the schema is missing from the frame.
        pyarrow.ArrowInvalid: A value does not fit its column.
    """
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(_metadata(table.schema, len(table), stamp)), temporary, **WRITING)


def _metadata(schema: pa.Schema, rows: int, stamp: dict[str, Any] | None = None) -> dict[str, str]:
    """Make a table's metadata: the stamp with a digest of it, of the columns and of the number of rows.

    The values have checksums of their own; what stands at the end of a parquet file, these three, has none.
    """
    document = {**(stamp or {}), KEY: digest({"stamp": stamp or {}, **_layout(schema, rows)})}
    return {STAMP: json.dumps(document, sort_keys=True)}


def _layout(schema: pa.Schema, rows: int) -> dict[str, Any]:
    """Describe a table's columns and its number of rows, in what a parquet file preserves of their types.

    A categorical column may come back as what its categories are, and large text as text.
    """
    kinds = [str(kind.value_type if pa.types.is_dictionary(kind) else kind) for kind in schema.types]
    kinds = [kind.removeprefix("large_") for kind in kinds]
    return {"columns": list(zip(schema.names, kinds, strict=True)), "rows": rows}


def _checked_stamp(schema: pa.Schema, rows: int, metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Take the stamp from the metadata of a table of these columns and so many rows.

    Raises:
        ValueError: The stamp, the columns or the number of rows are not what was written.
    """
    stamp = dict(json.loads((metadata or {}).get(STAMP.encode(), b"{}")))
    if stamp.pop(KEY, None) != digest({"stamp": stamp, **_layout(schema, rows)}):
        raise ValueError("the end of the file is not what was written")
    return stamp


def read_stamp(path: Path) -> dict[str, Any]:
    """Read what a table was made from; empty where that was not written.

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
    """Derived tables written part by part, as parquet alone; whole or not at all, when the ``with`` block ends well."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        """Name the tables."""
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
        """Put the tables in their places, and remove the text of an earlier, smaller sweep; on an exception neither."""
        for name, writer in self._writers.items():
            writer.add_key_value_metadata(_metadata(writer.schema, self._rows[name]))
            writer.close()
        self._stack.__exit__(*error)
        if error[0] is None:
            for name in self._names:
                remove(self._folder / f"{name}.csv")

    def add(self, name: str, frame: pd.DataFrame) -> None:
        """Append rows, which have the columns and dtypes of those before."""
        writer = self._writers.get(name)
        schema = None if writer is None else writer.schema
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(None)
        if writer is None:
            path = self._temporary[name]
            writer = self._writers[name] = pq.ParquetWriter(path, table.schema, **WRITING)
        writer.write_table(table)
        self._rows[name] = self._rows.get(name, 0) + len(table)


def write_output(path: Path, frame: pd.DataFrame, schema: pa.Schema) -> None:
    """Write the table that a user asked for: parquet where its name ends so, else csv; whole or not at all."""
    if path.suffix == ".parquet":
        write_table(path, frame, schema)
    else:
        with replacing(path) as temporary:
            frame.to_csv(temporary, index=False)


def read_table(path: Path) -> pd.DataFrame:
    """Read one parquet table."""
    return read_arrow(path).to_pandas()  # type: ignore[no-any-return]


def read_written(path: Path, by: str = "aggregate") -> pd.DataFrame:
    """Read a table that a stage wrote and a user asks for.

    Raises:
        UserError: It is missing or damaged; the line names the stage that writes it.
    """
    try:
        return read_table(path)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; is this a sweep's results? `nfa {by}` writes it") from None
    except UNREADABLE as error:
        raise UserError(f"{path}: damaged ({one_line(str(error), 80)}); `nfa {by}` writes it anew") from None


def read_arrow(path: Path) -> pa.Table:
    """Read one parquet table as it is, its stamp in its metadata: in a third of the time of pyarrow's ``read_table``.

    That one looks for a data set of many files first.

    Raises:
        OSError, ValueError: The table is missing or damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
            if any(map(pa.types.is_dictionary, table.schema.types)):
                table.validate(full=True)  # a damaged end of the file can leave codes of categories that are not there
            stored = file.metadata.metadata  # not in the schema where it was added when the file was closed
            _checked_stamp(file.schema_arrow, len(table), stored)
            return table.replace_schema_metadata({**(table.schema.metadata or {}), STAMP: stored[STAMP.encode()]})
    except RuntimeError as error:  # pyarrow raises NotImplementedError for a type it does not know
        raise ValueError(str(error)) from None


def stamp_of(table: pa.Table) -> dict[str, Any]:
    """What a table was made from, as ``read_stamp``."""
    return _checked_stamp(table.schema, len(table), table.schema.metadata)


def array_names(path: Path) -> list[str]:
    """List the arrays of an .npz archive.

    Every array has a checksum, but a list that has lost an entry is read without complaint: the number of entries at
    the end of the file tells.

    Raises:
        OSError, ValueError, RuntimeError, BadZipFile: It is missing or damaged.
    """
    with np.load(path, allow_pickle=False) as archive, path.open("rb") as file:
        file.seek(-12, os.SEEK_END)
        entries = int.from_bytes(file.read(2), "little")
        if entries != min(len(archive.files), 0xFFFF):  # of more the field says no more than that
            raise ValueError("its list of arrays is not what was written")
        return list(archive.files)
