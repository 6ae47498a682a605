"""How targets are read: as classes, values or one-hot rows, and which of them the user is asked about."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from nfa.data import DATA
from nfa.data.file import File
from nfa.random import numpy_generator
from tests.data.tables import LABELS, NAMES, A, B, N, csv_of, frame, planned, refused

pytestmark = pytest.mark.usefixtures("folder")

FLOATS, ONE_HOT = LABELS.astype(float), np.eye(2)[LABELS]


def test_whole_numbers_with_a_decimal_point_are_asked_about() -> None:
    path = csv_of(frame().assign(target=FLOATS))
    message = refused(path)
    assert "column 'target' holds whole numbers with a decimal point (0.0, 1.0)" in message
    assert "2 classes or values of a regression; say labels: classes, or labels: values" in message
    assert planned(path, labels="classes").cells[0].shape.classes == 2
    assert planned(path, labels="values").cells[0].shape.classes is None
    for whole in (np.round(A * 1e6), FLOATS + 0.5):  # too many to be classes; no whole numbers
        assert planned(csv_of(frame().assign(target=whole))).cells[0].shape.classes is None
    np.savez("a.npz", x=np.stack([A, B], 1), y=FLOATS)
    assert "y holds whole numbers with a decimal point" in refused("a.npz")
    assert planned("a.npz", labels="classes").cells[0].shape.classes == 2


def test_many_different_whole_numbers_are_asked_about() -> None:
    ages = 20 + 3 * np.arange(N) % 31
    path = csv_of(frame().assign(target=ages))
    assert "column 'target' holds many different whole numbers (20, 21, 22, ...), which can be" in refused(path)
    assert "31 classes or values of a regression; say labels: classes, or labels: values" in refused(path)
    assert planned(path, labels="classes").cells[0].shape.classes == 31
    assert planned(path, labels="values").cells[0].shape.classes is None
    np.savez("a.npz", x_train=A[:, None], y_train=ages, x_test=B[:, None], y_test=ages)
    assert "y_train holds many different whole numbers" in refused("a.npz")
    for few in (np.arange(N) % 10, [f"c{i}" for i in range(N)]):  # ten numbers; text is always a class
        planned(csv_of(frame().assign(target=few)))
    planned(csv_of(pd.concat([frame()] * 4).assign(target=np.arange(4 * N) % 16)))  # ten rows for each number


def test_a_class_that_only_test_samples_have_is_refused() -> None:
    split = np.where(np.arange(N) % 4 == 0, "test", "train")
    misspelt = np.where(np.arange(N) == 36, "yse", NAMES)
    path = csv_of(frame(split=split).assign(target=misspelt))
    message = refused(path)
    assert "column 'target': only test samples have the class 'yse'; correct these labels" in message
    assert "labels: values" not in message
    other = np.where(np.arange(N) == 36, 7, LABELS)
    np.savez("a.npz", x_train=A[:, None], y_train=LABELS, x_test=B[:, None], y_test=other)
    assert "y_test: only test samples have the class 7; correct these labels" in refused("a.npz")
    assert "or say labels: values for a regression" in refused("a.npz")
    assert planned("a.npz", labels="values").cells[0].shape.classes is None
    np.savez("a.npz", x_train=A[:, None], y_train=other, x_test=B[:, None], y_test=LABELS)
    assert planned("a.npz").cells[0].shape.classes == 3
    np.savez("a.npz", x_train=A[:, None], y_train=np.eye(8)[LABELS], x_test=B[:, None], y_test=np.eye(8)[other])
    assert "only test samples have the class 7" in refused("a.npz", labels="onehot")
    np.savez("a.npz", x=np.stack([A, B], 1), y=other)  # the seed draws the test samples
    assert planned("a.npz").cells[0].shape.classes == 3


def test_one_hot_rows_are_asked_about() -> None:
    np.savez("a.npz", x=np.stack([A, B], 1), y=ONE_HOT)
    message = refused("a.npz")
    assert "2 classes or 2 outputs of a regression; say labels: onehot for classes, or labels: values" in message
    (classes,), (values,) = planned("a.npz", labels="onehot").cells, planned("a.npz", labels="values").cells
    assert (classes.shape.classes, values.shape.classes, values.shape.outputs) == (2, None, 2)
    data = DATA["file"].load(classes.data, numpy_generator("data", 0))
    np.savez("b.npz", x=np.stack([A, B], 1), y=LABELS)
    plain = DATA["file"].load(File(path="b.npz"), numpy_generator("data", 0))
    np.testing.assert_array_equal(data.labels_train, plain.labels_train)
    np.testing.assert_array_equal(data.y_test, plain.y_test)
    table = pd.DataFrame({"a": A, "b": B, "no": ONE_HOT[:, 0], "yes": ONE_HOT[:, 1]})
    assert "targets 'no, yes' has rows with a single 1" in refused(csv_of(table), targets="no, yes")
    assert planned("t.csv", targets="no, yes", labels="onehot").cells[0].shape.classes == 2


@pytest.mark.parametrize(
    ("y", "keys", "said"),
    [
        (LABELS, {"labels": "onehot"}, "y is one column, and labels: onehot needs one column per class"),
        (ONE_HOT + 1, {"labels": "onehot"}, "row 1 of y is [2. 1.]"),
        (ONE_HOT, {"labels": "classes"}, "labels: classes needs one label per sample"),
        (ONE_HOT, {"task": "classes"}, "use labels: onehot or labels: values"),
        (NAMES, {"labels": "values"}, "holds text, which cannot be the target of a regression"),
        (LABELS, {"labels": "values", "task": "classes"}, "contradict each other"),
        (LABELS * np.nan, {"labels": "classes"}, "y has values that are missing"),
        (LABELS * 1e300, {}, "infinite or beyond float32"),
    ],
)
def test_targets_that_cannot_be_read_as_asked_are_refused(y: np.ndarray, keys: dict[str, Any], said: str) -> None:
    np.savez("a.npz", x=np.stack([A, B], 1), y=y)
    assert said in refused("a.npz", **keys)


def test_text_in_one_split_and_numbers_in_the_other_are_refused() -> None:
    np.savez("a.npz", x_train=A[:, None], y_train=NAMES, x_test=B[:, None], y_test=LABELS)
    assert "y_train holds text for some samples and numbers for others" in refused("a.npz")
