"""Columns of a table that give the target away, row numbers and copies of the target, are refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nfa.data import DATA
from nfa.data.file import File
from nfa.random import numpy_generator
from tests.data.tables import LABELS, RNG, WAYS_OUT, A, B, N, csv_of, document, frame, parquet_of, planned, refused
from tests.workflow.snakemake import Workflow

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.arange(N), "'x' holds whole numbers that only rise from row to row (0, 1, ..., 39)"),
        (np.arange(N)[::-1] * 3 + 7, "'x' holds whole numbers that only fall from row to row (124, 121, ..., 7)"),
        (np.arange(1.0, N + 1), "'x' holds whole numbers that only rise from row to row (1, 2, ..., 40)"),
        (10**17 + np.arange(N), "'x' holds whole numbers that only rise"),
        (RNG.permutation(N), "'x' holds each whole number from 0 to 39 once"),
        (LABELS, "'x' goes one to one with the target"),
        (7.5 - LABELS, "'x' goes one to one with the target"),
        (LABELS == 0, "'x' goes one to one with the target"),
    ],
)
def test_a_column_that_gives_the_target_away_is_refused_unless_it_is_listed(column: np.ndarray, said: str) -> None:
    for path in (csv_of(frame(x=column)), parquet_of(frame(x=column))):
        message = refused(path)
        assert said in message
        assert all(way in message for way in WAYS_OUT)
        assert planned(path, features=["a", "b"]).cells[0].shape.input_shape == (2,)
        assert planned(path, features=["a", "b", "x"]).cells[0].shape.input_shape == (3,)


@pytest.mark.parametrize(
    "column",
    [
        np.arange(N) / 7,  # a time
        np.arange(N) // 2,
        np.arange(N) % 7,
        RNG.permutation(N + 1)[:N] * 2,
        np.ones(N),
        np.where(np.arange(N) == 3, 1 - LABELS, LABELS),
    ],
)
def test_an_ordinary_column_is_an_input(column: np.ndarray) -> None:
    assert planned(csv_of(frame(x=column))).cells[0].shape.input_shape == (3,)


def test_a_few_rows_that_are_sorted_by_chance_are_no_index() -> None:
    few = pd.DataFrame({"age": [31, 35, 40, 52, 61], "b": [0, 1, 0, 1, 0], "target": ["n", "y", "n", "y", "n"]})
    assert planned(csv_of(few)).cells[0].shape.input_shape == (2,)


def test_numbers_of_rows_that_begin_anew_in_the_test_rows_are_refused() -> None:
    split = np.array(["train"] * 25 + ["test"] * 15)
    path = csv_of(frame(x=[*range(25), *range(15)], split=split))
    assert "'x' holds whole numbers that only rise from row to row in each split" in refused(path)


def test_a_copy_of_the_target_of_a_regression_is_refused() -> None:
    table = pd.DataFrame({"a": A, "b": B, "copy": A * B, "target": A * B})
    message = refused(csv_of(table))
    assert "column 'copy' equals the target in every row" in message
    assert all(way in message for way in WAYS_OUT)
    several = table.rename(columns={"target": "y1"}).assign(y2=A + B)
    assert "column 'copy' equals the target" in refused(csv_of(several), targets="y1, y2")


def test_the_index_that_pandas_writes_into_a_csv_is_refused() -> None:
    frame().sample(frac=1, random_state=0).to_csv("t.csv")
    message = refused("t.csv")
    assert "column 'Unnamed: 0' has no name in the header, like the index that pandas writes" in message
    assert all(way in message for way in WAYS_OUT)
    assert planned("t.csv", features=["Unnamed: 0", "a"]).cells[0].shape.input_shape == (2,)
    Path("trailing.csv").write_text("".join(line + ",\n" for line in Path(csv_of(frame())).read_text().splitlines()))
    assert "column 'Unnamed: 3' has no name" in refused("trailing.csv")


def test_the_index_that_pandas_writes_into_parquet_is_no_column() -> None:
    shuffled = frame().sample(frac=1, random_state=0)
    for table, name in ((shuffled, "__index_level_0__"), (shuffled.rename_axis("patient"), "patient")):
        path = parquet_of(table)
        (cell,) = planned(path).cells
        assert cell.shape.input_shape == (2,)
        data = DATA["file"].load(File(path=path, standardise="none"), numpy_generator("data", 0))
        rows = np.concatenate([data.x_train, data.x_test])
        np.testing.assert_array_equal(np.sort(rows[:, 0]), np.sort(A.astype(np.float32)))
        assert DATA["file"].left_out(cell.data) == {name: "the index that pandas wrote"}
        assert planned(path, features=[name]).cells[0].shape.input_shape == (1,)
    bare = pa.table(pa.Table.from_pandas(shuffled)).replace_schema_metadata(None)
    assert "column '__index_level_0__' has no name" in refused(parquet_of(bare))


@pytest.mark.slow
def test_a_dry_run_refuses_a_table_with_an_index(folder: Path) -> None:
    frame().to_csv("t.csv")
    done = Workflow(folder, document({"name": "file", "path": str(folder / "t.csv")})).run("-n")
    assert done.returncode != 0
    assert "has no name in the header" in done.stdout
    assert "Traceback" not in done.stdout
