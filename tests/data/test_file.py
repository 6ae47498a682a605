"""Data from files of the user: arrays and tables, their shapes, and errors of one line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nfa.data import DATA
from nfa.data.file import File
from nfa.errors import UserError
from nfa.random import numpy_generator
from tests.data.test_entries import check

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, (60, 5))
LABELS = RNG.integers(3, size=60)
IMAGES = RNG.integers(256, size=(60, 8, 6, 3), dtype=np.uint8)


def load(settings: File, seed: int = 0) -> Any:
    entry = DATA["file"]
    data = entry.load(settings, numpy_generator("data", seed))
    check(entry.shape(settings), data)
    return data


def savez(**arrays: Any) -> File:
    np.savez("a.npz", **arrays)
    return File(path="a.npz")


def test_npz_with_its_own_test_set(folder: Path) -> None:
    np.savez("a.npz", x_train=X[:40], y_train=LABELS[:40] * 10, x_test=X[40:], y_test=LABELS[40:] * 10)
    data = load(File(path="a.npz", standardise="none"))
    np.testing.assert_array_equal(data.x_train, X[:40].astype(np.float32))
    np.testing.assert_array_equal(data.labels_test, LABELS[40:])  # the classes are the distinct labels, in order
    subset = load(File(path="a.npz", n_train=10, n_test=5, standardise="none"))
    assert {row.tobytes() for row in subset.x_train} <= {row.tobytes() for row in data.x_train}
    np.testing.assert_array_equal(load(File(path="a.npz"), seed=1).x_train, load(File(path="a.npz")).x_train)


def test_first_takes_the_first_training_samples(folder: Path) -> None:
    np.savez("a.npz", x_train=X[:40], y_train=LABELS[:40], x_test=X[40:], y_test=LABELS[40:])
    settings = File(path="a.npz", first=12, standardise="none")
    data = load(settings)
    np.testing.assert_array_equal(data.x_train, X[:12].astype(np.float32))
    np.testing.assert_array_equal(data.x_test, X[40:].astype(np.float32))
    assert DATA["file"].shape(settings).n_train == 12
    with pytest.raises(UserError, match=r"first: 41 is more than the 40 available samples; use fewer"):
        load(settings.model_copy(update={"first": 41}))
    with pytest.raises(ValueError, match="first: n_train is given too; keep one of them"):
        File(path="a.npz", first=12, n_train=10)
    savez(x=X, y=LABELS)
    with pytest.raises(UserError, match="first: without a test set the seed draws the training samples; use n_train"):
        load(settings)


@pytest.mark.parametrize("names", [("x", "y"), ("x_train", "y_train")])
def test_npz_without_a_test_set_is_split_by_the_seed(folder: Path, names: tuple[str, str]) -> None:
    savez(**dict(zip(names, (X, X[:, :2]), strict=True)))
    settings = File(path="a.npz", test_share=0.25, standardise="none")
    first, other = load(settings), load(settings, seed=1)
    assert (len(first.x_train), len(first.x_test), first.labels_train) == (45, 15, None)
    assert not np.array_equal(first.x_test, other.x_test)
    rows = np.concatenate([first.x_train, first.x_test])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(X.astype(np.float32), axis=0))
    np.testing.assert_array_equal(first.y_train, first.x_train[:, :2])


@pytest.mark.parametrize(
    ("x", "more", "expected"),
    [
        (IMAGES, {}, (3, 8, 6)),
        (IMAGES.transpose(0, 3, 1, 2), {}, (3, 8, 6)),
        (IMAGES[..., 0], {}, (1, 8, 6)),
        (IMAGES, {"channels": "first"}, (8, 6, 3)),
        (IMAGES[:, :, 0] % 7, {"vocabulary": 7}, None),
        (IMAGES[:, 0, :, 0] % 7, {"vocabulary": 7}, (6,)),
    ],
)
def test_what_a_sample_is(folder: Path, x: np.ndarray, more: dict[str, Any], expected: tuple[int, ...] | None) -> None:
    np.savez("a.npz", x=x, y=LABELS)
    settings = File(path="a.npz", **more)
    if expected is None:
        with pytest.raises(UserError, match="tokens are whole numbers"):
            load(settings)
        return
    data = load(settings)
    assert data.x_train.shape[1:] == expected
    if more == {} and x is IMAGES:
        raw = load(File(path="a.npz", standardise="none"))
        assert {row.tobytes() for row in raw.x_train} <= {
            row.tobytes() for row in IMAGES.transpose(0, 3, 1, 2).astype(np.float32)
        }
        np.testing.assert_allclose(data.x_train.mean(axis=(0, 2, 3)), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("y", "task", "classes"),
    [
        (LABELS, "auto", 3),
        (LABELS[:, None], "auto", 3),
        (LABELS > 0, "auto", 2),
        (np.array(["a", "b", "c"])[LABELS], "auto", 3),
        (LABELS.astype(float), "classes", 3),
        (LABELS.astype(float), "regression", None),
        (np.arange(60.0), "auto", None),
        (LABELS, "regression", None),
        (X[:, :2], "auto", None),
    ],
)
def test_labels_are_classes_and_numbers_are_targets(
    folder: Path, y: np.ndarray, task: Any, classes: int | None
) -> None:
    np.savez("a.npz", x=X, y=y)
    settings = File(path="a.npz", task=task)
    assert DATA["file"].shape(settings).classes == classes
    load(settings)


def write(frame: pd.DataFrame, suffix: str) -> str:
    if suffix == ".csv":
        frame.to_csv(f"t{suffix}", index=False)
    else:
        frame.to_parquet(f"t{suffix}", index=False)
    return f"t{suffix}"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables(folder: Path, suffix: str) -> None:
    frame = pd.DataFrame(X, columns=list("abcde")).assign(
        target=np.array(["no", "maybe", "yes"])[LABELS], split=np.where(np.arange(60) % 3 == 0, "test", "train")
    )
    path = write(frame, suffix)
    data = load(File(path=path, standardise="none"))
    test = np.arange(60) % 3 == 0
    np.testing.assert_array_equal(data.x_test, X[test].astype(np.float32))
    names = np.array(["maybe", "no", "yes"])
    np.testing.assert_array_equal(names[data.labels_train], frame["target"].to_numpy()[~test])
    np.testing.assert_allclose(load(File(path=path)).x_train.std(axis=0), 1, rtol=1e-5)  # each column on its own

    path = write(frame.drop(columns=["target", "split"]), suffix)
    several = load(File(path=path, targets="a, b", standardise_targets=True))
    assert several.x_train.shape == (48, 3)
    np.testing.assert_allclose(several.y_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(several.y_train.std(axis=0), 1, rtol=1e-5)
    assert load(File(path=path, target="e")).y_train.shape == (48, 1)


def test_a_changed_file_is_another_cell_and_an_unchanged_one_is_read_once(folder: Path) -> None:
    settings = savez(x=X, y=LABELS)
    first = DATA["file"].identity(settings)
    assert list(first) == ["sha256"]
    os.utime("a.npz", ns=(1, 1))
    assert DATA["file"].identity(settings) == first
    savez(x=X + 1, y=LABELS)
    os.utime("a.npz", ns=(2, 2))
    assert DATA["file"].identity(settings) != first


def bad_csv(text: str, **keys: Any) -> File:
    Path("t.csv").write_text(text)
    return File(path="t.csv", **keys)


def truncated() -> File:
    settings = savez(x=X, y=LABELS)
    Path("a.npz").write_bytes(Path("a.npz").read_bytes()[:200])
    return settings


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: File(path="none.npz"), "none.npz: no such file"),
        (truncated, "a.npz: cannot be read as .npz"),
        (lambda: savez(x=X), "has x; needs x_train and y_train"),
        (lambda: savez(x=X, y=LABELS, z=X), "'z' is not the name of an array"),
        (lambda: savez(x=X, y=LABELS[:50]), "x is (60, 5) and y (50,)"),
        (lambda: savez(x=LABELS, y=LABELS), "x needs another"),
        (lambda: savez(x=np.array([{}] * 60), y=LABELS), "'x' holds Python objects"),
        (lambda: savez(x=X.astype(complex), y=LABELS), "x holds complex128, not numbers"),
        (lambda: savez(x=X * np.inf, y=LABELS), "missing, infinite"),
        (lambda: savez(x=X * 1e39, y=LABELS), "beyond float32"),
        (lambda: savez(x=X, y=X[:, 0] * np.nan), "y has values that are missing"),
        (lambda: savez(x=X, y=LABELS * 0), "y has one class, 0, where"),
        (lambda: savez(x_train=X, y_train=LABELS, x_test=X[:, 1:], y_test=LABELS), "make them agree"),
        (lambda: savez(x=X, y=LABELS).model_copy(update={"n_train": 49}), "n_train: 49 is more than the 48"),
        (lambda: savez(x=LABELS[:, None], y=LABELS).model_copy(update={"vocabulary": 2}), "tokens from 0 to 2"),
        (lambda: savez(x=X, y=np.array(["a", "b"] * 30)).model_copy(update={"task": "regression"}), "holds text"),
        (lambda: bad_csv("a,b\n1,2\n"), "no column 'target'"),
        (lambda: bad_csv("target\n1\n2\n"), "needs features"),
        (lambda: bad_csv("a,target,split\n1,2,train\n2,3,val\n"), "column split: 'val' is neither"),
        (lambda: bad_csv("a,target\n1,0.5\n,0.7\n3,0.1\n"), "column a: row 2 has no value"),
        (lambda: bad_csv("a,target\n1,0.5\nred,0.7\n3,0.1\n"), "column a: not numbers"),
        (lambda: bad_csv("a,target\n1,0\n2,\n3,1\n"), "column target: row 2 has no value"),
        (lambda: bad_csv(""), "t.csv: is empty"),
        (lambda: bad_csv("a,target\n1,0.5\n"), "number of samples: 1; at least two"),
        (lambda: bad_csv("a,target,split\n1,0,train\n2,1,train\n"), "x_test is (0, 1)"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(folder: Path, make: Callable[[], File], said: str) -> None:
    settings = make()
    with pytest.raises(UserError) as caught:
        load(settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(settings.path)
