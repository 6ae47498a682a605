"""Read tables and arrays from files: planning refuses unusable files; a mutated file is refused or read correctly."""

import csv
import io
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfa.data import DATA
from nfa.data import table as table_reader
from nfa.data.file import File
from nfa.errors import SweepError, UserError
from nfa.random import numpy_generator
from tests.data.tables import (
    LABELS,
    NAMES,
    RNG,
    A,
    B,
    N,
    csv_of,
    document,
    frame,
    parquet_of,
    planned,
    refused,
    text,
)
from tests.helpers import nfa

pytestmark = pytest.mark.usefixtures("folder")


def with_a(value: Any, row: int = 5) -> pd.DataFrame:
    """Put a value into a row of column a."""
    table = frame().astype({"a": object})
    table.loc[row, "a"] = value
    return table


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: csv_of(with_a(None)), "column a: row 6 has no value"),
        (lambda: csv_of(with_a("NA")), "column a: row 6 has no value"),
        (lambda: csv_of(with_a("red")), "column a: not numbers (row 6 is 'red')"),
        (lambda: csv_of(with_a("1,5")), "column a: not numbers (row 6 is '1,5')"),
        (lambda: csv_of(with_a("12%")), "column a: not numbers (row 6 is '12%')"),
        (lambda: csv_of(with_a("1_000")), "column a: not numbers (row 6 is '1_000')"),
        (lambda: csv_of(with_a(np.inf)), "column a: row 6 is inf, infinite or beyond float32"),
        (lambda: csv_of(with_a(1e39)), "column a: row 6 is 1e+39, infinite or beyond float32"),
        (lambda: csv_of(with_a(1e400)), "column a: row 6 is inf"),
        (lambda: csv_of(frame(sex=["f", "m"] * (N // 2))), "column sex: not numbers (row 1 is 'f')"),
        (lambda: csv_of(frame(gone=[None] * N)), "column gone: row 1 has no value"),
        (lambda: parquet_of(frame(sex=pd.Categorical(["f", "m"] * (N // 2)))), "column sex: not numbers"),
        (lambda: parquet_of(frame(flag=pd.array([True, None] * (N // 2)))), "column flag: row 2 has no value"),
        (lambda: parquet_of(frame(at=pd.date_range("2020", periods=N))), "column at: holds 'timestamp"),
        (lambda: parquet_of(pa.table({"a": [[1.0], [2.0]], "target": [0, 1]})), "column a: holds 'list"),
        (
            lambda: parquet_of(pa.table({"a": A, "target": pa.array(LABELS).cast(pa.decimal128(22, 1))})),
            "column target: holds 'decimal128(22, 1)', not numbers or text",
        ),
        (
            lambda: parquet_of(
                pa.Table.from_arrays([pa.array(A), pa.array(B), pa.array(LABELS)], ["a", "a", "target"])
            ),
            "two columns are called 'a'",
        ),
        (lambda: text("a,a,target\n1,2,0\n3,4,1\n"), "two columns are called 'a'"),
        (lambda: text("a,b,target\n"), "has a header and no rows"),
        (lambda: text("a,target\n1,0\n2,0\n"), "column 'target' has one class, 0, where"),
        (lambda: text("a,target\n1,0\n2\n3,1\n"), "column target: row 2 has no value"),
        (lambda: text("a,target\n1,0\n2,1,7\n3,1\n"), "t.csv: line 3 has 3 values, but there are 2 columns"),
        (lambda: text("a,target\n0,1,0\n1,2,1\n"), "rows have more fields than the header"),
        (lambda: text("a,target\n1,caf\xe9\n2,no\n".encode("latin-1")), "not UTF-8 text; save it as UTF-8"),
        (lambda: text("a,target\n1,0\n2,1\n".encode("utf-16")), "not UTF-8 text; save it as UTF-8"),
        (lambda: text("a;b;target\n1,5;2;0\n2,5;3;1\n"), "commas between columns, and a point in decimals"),
        (lambda: text("a\tb\ttarget\n1\t2\t0\n2\t3\t1\n"), "commas between columns, and a point in decimals"),
        (lambda: text(""), "t.csv: is empty"),
        (lambda: text("\n \n"), "t.csv: is empty"),
        (lambda: text("", "t.parquet"), "t.parquet: cannot be read as .parquet"),
        (lambda: text("a,target\n1,no\n2,no \n"), "column target: 'no' and 'no ' differ in blanks only"),
        (lambda: text("a,target\n1,0\n2,1\n").replace("t.csv", "absent.csv"), "absent.csv: no such file"),
        (lambda: "x\0.csv", "cannot be read: embedded null byte"),
    ],
)
def test_what_a_job_would_refuse_is_refused_when_planned(make: Callable[[], str], said: str) -> None:
    assert said in refused(make())


def test_a_byte_order_mark_and_blank_lines_change_nothing() -> None:
    plain = planned(csv_of(frame())).cells[0].shape
    content = Path("t.csv").read_text()
    assert planned(text("\ufeff" + content, "bom.csv")).cells[0].shape == plain
    assert planned(text("\n\n" + content.replace("\n", "\r\n\r\n"), "blank.csv")).cells[0].shape == plain


def test_a_file_without_an_end_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo("pipe.csv")
    Path("zero.npz").symlink_to("/dev/zero")
    Path("folder.parquet").mkdir()
    for path, kind in (("pipe.csv", "a named pipe"), ("zero.npz", "a device"), ("folder.parquet", "a folder")):
        told = subprocess.run(
            [sys.executable, "-c", f"from nfa.data.file import *; shape(File(path={path!r}))"],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert f"{path}: is {kind}; data are read from regular files" in told.stderr


def test_features_are_exactly_the_columns_that_are_listed() -> None:
    path = csv_of(frame(sex=["f", "m"] * (N // 2), **{"with, comma": A + B}))
    for listed in (["b", "with, comma"], 'b, "with, comma"'):
        (cell,) = planned(path, features=listed).cells
        data = DATA["file"].load(cell.data, numpy_generator("data", 0))
        assert data.x_train.shape[1:] == (2,)
    assert planned(path, features=["b", "with, comma"]).cells[0].id == cell.id
    raw = DATA["file"].load(File(path=path, features="b, a", standardise="none"), numpy_generator("data", 0))
    rows = np.concatenate([raw.x_train, raw.x_test])
    assert {row.tobytes() for row in rows} == {row.tobytes() for row in np.stack([B, A], 1).astype(np.float32)}
    grid = planned(path, features=[["a", "b"], ["a"]])
    assert [cell.shape.input_shape for cell in grid.cells] == [(2,), (1,)]
    assert len(planned(path, features=[["a"]]).cells) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a", "c"], "no column 'c'; valid: a, b, target"),
        (["a", "target"], "column 'target' is the target, and features lists it"),
        ([], "features: [] is not a list of column names"),
        ("", "features: '' is not a list of column names"),
        (["a", 0.5], "features: ['a', 0.5] is not a list of column names"),
        (["a", "a"], "features: 'a' is listed twice"),
        ({"a": 1}, "features: {'a': 1} is not a list of column names"),
    ],
)
def test_features_that_are_no_columns_are_refused(given: Any, said: str) -> None:
    path = csv_of(frame())
    with pytest.raises(SweepError) as caught:
        planned(path, features=given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_can_name_a_column() -> None:
    table = pd.DataFrame({0: A, 1: B, "target": NAMES})
    assert planned(csv_of(table), features=[0, 1]).cells[0].shape.input_shape == (2,)


def test_inputs_of_an_npz_file_are_read_when_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nfa.data.npz.PIECE", 64)  # read in several pieces
    for value in (np.nan, np.inf, 1e39):
        x = np.stack([A, B], 1)
        x[25, 1] = value
        np.savez("a.npz", x=x, y=LABELS)
        assert "x has values that are missing, infinite or beyond float32" in refused("a.npz")
    tokens = RNG.integers(5, size=(N, 3))
    np.savez("a.npz", x=tokens, y=LABELS)
    assert planned("a.npz", vocabulary=5).cells
    tokens[33, 2] = 5
    np.savez("a.npz", x=tokens, y=LABELS)
    assert "tokens from 0 to 5; vocabulary: 5 needs them from 0 to 4" in refused("a.npz", vocabulary=5)


def test_a_damaged_npz_file_is_refused_when_planned() -> None:
    np.savez("a.npz", x=RNG.integers(256, size=(N, 500), dtype=np.uint8), y=LABELS)
    content = bytearray(Path("a.npz").read_bytes())
    content[5000] ^= 1
    Path("a.npz").write_bytes(content)
    assert "a.npz: cannot be read as .npz (BadZipFile: Bad CRC-32" in refused("a.npz")


def test_arrays_under_other_names_get_a_way_out() -> None:
    np.savez("a.npz", labels=LABELS, images=RNG.normal(size=(N, 4, 4)))
    message = refused("a.npz")
    assert "has images, labels; 'labels' is not the name of an array" in message
    assert "numpy.savez('new.npz', x=old['images'], y=old['labels'])" in message


def test_a_table_is_read_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    original = table_reader._frame

    def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(table_reader, "_frame", counted)
    path = csv_of(frame(c=RNG.normal(size=N)))
    sweep = planned(path, n_train=[10, 20], label_noise=[0, 0.1])
    for cell in sweep.cells:
        DATA["file"].load(cell.data, numpy_generator("data", 0))
    assert len(reads) == 1
    monkeypatch.setattr(table_reader, "KEPT_BYTES", 0)  # inputs too large to keep
    kept = DATA["file"].load(sweep.cells[0].data, numpy_generator("data", 0))
    table_reader.read_table.cache_clear()
    again = DATA["file"].load(sweep.cells[0].data, numpy_generator("data", 0))
    np.testing.assert_array_equal(kept.x_train, again.x_train)
    assert len(reads) == 3


def test_expand_says_what_the_data_are(folder: Path) -> None:
    frame(split=["train"] * 30 + ["test"] * 10).assign(target=A * B).sample(frac=1).to_parquet("t.parquet")
    listed = {"name": "file", "path": csv_of(frame(z=A)), "features": ["a"]}
    Path("my.yaml").write_text(repr(document({"name": "file", "path": "t.parquet"}, listed)))
    lines = [" ".join(line.split()) for line in nfa("expand", "my.yaml", cwd=folder).stdout.splitlines()]
    assert "data train test inputs targets" in lines
    assert "file path t.parquet 30 10 2 regression, 1 output" in lines
    assert "file path t.csv features a 32 8 1 2 classes" in lines
    assert "t.parquet: columns left out: __index_level_0__ (the index that pandas wrote)" in lines
    assert "t.csv: columns left out: b (not in features), z (not in features)" in lines


FIELDS = st.one_of(
    st.sampled_from(
        ["", "0", "1", "2.0", "NA", "no", "yes", " ", "1e400", "-inf", "nan", "True", "1,5", '"', "x;y", "\0"]
    ),
    st.integers().map(str),
    st.floats(width=32).map(str),
    st.text(max_size=4),
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Draw a small csv with a few fields, lines or characters changed."""
    rows = draw(st.integers(1, 14))
    numbers = st.one_of(st.integers(-5, 5).map(str), st.floats(-9, 9).map(str))
    header = draw(st.permutations(["a", "b", "target"]))
    lines = [header] + [[draw(numbers) for _ in header] for _ in range(rows)]
    for _ in range(draw(st.integers(0, 3))):
        line = lines[draw(st.integers(0, rows))]
        place = draw(st.integers(0, max(len(line) - 1, 0)))
        action = draw(st.sampled_from(["replace", "insert", "remove"]))
        if action == "insert":
            line.insert(place, draw(FIELDS))
        elif line:
            line[place : place + 1] = [draw(FIELDS)] if action == "replace" else []
    content = draw(st.sampled_from(["\n", "\r\n"])).join(",".join(line) for line in lines)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.text('",;\n\r\t\ufeff\0 #', max_size=2)) + content[place:]
    return content


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=mutated(), labels=st.sampled_from(["auto", "classes", "values"]))
def test_a_mutated_csv_is_refused_in_one_line_or_read_correctly(content: str, labels: Any) -> None:
    try:
        raw = content.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        raw = content.encode("utf-8", "surrogatepass")
    Path("m.csv").write_bytes(raw)
    given_settings = File(path="m.csv", standardise="none", test_share=0.5, labels=labels)
    entry = DATA["file"]
    try:
        shape = entry.shape(given_settings)
    except UserError as error:
        assert "\n" not in str(error)
        assert str(error).startswith("m.csv: ")
        assert len(str(error)) < 1000
        return
    # What is planned is loaded, and has the values that are written.
    data = entry.load(given_settings, numpy_generator("data", 0))
    lines = [line for line in csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")) if "".join(line).strip()]
    header, rows = lines[0], lines[1:]
    features = [i for i, name in enumerate(header) if name not in ("target", "split")]
    written = np.array([[number(row[i]) for i in features] for row in rows], dtype=np.float32)
    x = np.concatenate([data.x_train, data.x_test])
    assert len(x) == len(rows) == shape.n_train + shape.n_test
    np.testing.assert_allclose(np.sort(x, axis=0), np.sort(written, axis=0), rtol=1e-6)
    written_target = [row[header.index("target")] for row in rows]
    if shape.classes is None:
        y = np.concatenate([data.y_train, data.y_test])[:, 0]
        expected = np.array([number(value) for value in written_target], np.float32)
        np.testing.assert_allclose(np.sort(y), np.sort(expected), rtol=1e-6)
        return
    assert data.labels_train is not None
    assert data.labels_test is not None
    labels_read = np.concatenate([data.labels_train, data.labels_test])
    numbers = [number(value) for value in written_target]
    names = written_target if any(map(math.isnan, numbers)) else numbers
    assert sorted(np.unique(labels_read, return_counts=True)[1]) == sorted(Counter(names).values())


def number(field: str) -> float:
    """Read a field as a number, with true and false as 1 and 0; NaN if it is neither."""
    words = {"true": 1.0, "false": 0.0}
    try:
        return words[field.lower()] if field.lower() in words else float(field)
    except ValueError:
        return math.nan
