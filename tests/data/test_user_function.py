"""Data from functions of the user: arrays, finished data sets, planned shapes, and errors of one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nfa.data import DATA
from nfa.data.user_function import FunctionData
from nfa.entries import USERS_OWN, non_default
from nfa.errors import UserError
from nfa.random import numpy_generator
from tests.data.test_entries import check


def load(settings: FunctionData, seed: int = 0) -> Any:
    entry = DATA[USERS_OWN]
    data = entry.load(settings, numpy_generator("data", seed))
    check(entry.shape(settings), data)
    return data


MODULE = """
import numpy as np
from nfa.data import Data, DataShape

calls = []

def arrays(generator, n=40, shift=0.0):
    calls.append("arrays")
    x = generator.standard_normal((n, 3)) + shift
    return {"x_train": x[:30], "y_train": x[:30, :1], "x_test": x[30:], "y_test": x[30:, :1]}

def fixed():
    x = np.arange(60.0).reshape(20, 3)
    return {"x": x, "y": np.arange(20) % 2}

def finished(generator):
    x = generator.standard_normal((30, 2, 4, 4))
    y, labels = np.tile([-0.5, 0.5], (30, 1)), np.ones(30, int)
    return Data(x[:20], y[:20], x[20:], y[20:], labels[:20], labels[20:], np.eye(32, 2, dtype=np.float32))

def slow(generator):
    calls.append("slow")
    return arrays(generator)

slow.shape = lambda: DataShape((3,), 1, None, 30, 10, relevant=1)

def signs(generator, rows="one"):
    x = generator.standard_normal((40, 3))
    return {"x": x, "y": np.sign(x[:, :1]) if rows == "one" else np.eye(2)[(x[:, 0] > 0).astype(int)]}

def signs_told(generator, classes=0):
    return signs(generator)

signs_told.shape = lambda classes=0: DataShape((3,), classes or 1, classes or None, 32, 8)

def ages(generator):
    return {"x": generator.standard_normal((40, 3)), "y": np.arange(40)}

ages.shape = lambda: DataShape((3,), 1, None, 32, 8)

def tokens():
    return {"x": np.arange(40).reshape(20, 2) % 5, "y": np.arange(20) % 2}

def unsteady(generator):
    n = int(generator.integers(20, 1000))
    return {"x": np.zeros((n, 2)), "y": np.zeros(n)}

def fails(): raise ValueError("two\\nlines")
def nothing(): return None
def unpaired(): return {"x": np.zeros((4, 2))}
def wrong(): return Data(np.zeros((4, 2)), np.zeros(4), np.zeros((4, 2)), np.zeros(4))
def endless(): return Data(*[np.full((4, 2), 1e39)] * 4)
def new_class(): return Data(*[np.zeros((4, 2))] * 4, np.zeros(4, int), np.arange(4) // 2)
def labelled(): return Data(*[np.zeros((4, 2))] * 4, np.full(4, 2), np.full(4, 2))
"""


@pytest.fixture
def mine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    import sys

    from nfa.data import user_function

    (folder / "mine_data.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mine_data", raising=False)
    user_function._shape.cache_clear()
    return "mine_data"


def test_functions(mine: str) -> None:
    first, again, other = (load(FunctionData(name=f"{mine}:arrays"), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.x_train, again.x_train)
    assert not np.array_equal(first.x_train, other.x_train)
    shifted = load(FunctionData(name=f"{mine}:arrays", arguments={"shift": 2}, n_train=12))
    assert shifted.x_train.shape == (12, 3)
    assert shifted.x_train.mean() > 1
    assert load(FunctionData(name=f"{mine}:fixed", standardise="global")).labels_train is not None
    assert load(FunctionData(name=f"{mine}:tokens", vocabulary=5)).x_train.dtype == np.int64
    finished = load(FunctionData(name=f"{mine}:finished", n_train=5))
    assert finished.directions is not None
    assert finished.x_train.shape == (5, 2, 4, 4)


def test_a_function_is_called_once_to_plan_and_not_at_all_if_it_tells_its_shape(mine: str) -> None:
    import importlib

    entry = DATA[USERS_OWN]
    calls = importlib.import_module(mine).calls
    for _ in range(3):
        assert entry.shape(FunctionData(name=f"{mine}:slow")).relevant == 1
        entry.shape(FunctionData(name=f"{mine}:arrays"))
    assert calls == ["arrays"]
    load(FunctionData(name=f"{mine}:slow"))
    assert non_default(FunctionData(name="a:b", arguments={"x": 1})) == {"name": "a:b", "arguments": {"x": 1}}


def test_targets_of_a_function_that_can_be_read_in_two_ways_are_asked_about(mine: str) -> None:
    for arguments, reading in ({}, "classes"), ({"rows": "two"}, "onehot"):
        asked: dict[str, Any] = {"name": f"{mine}:signs", "arguments": arguments}
        with pytest.raises(UserError, match=f"signs: y h.* say labels: {reading}.*, or labels: values"):
            DATA[USERS_OWN].shape(FunctionData(**asked))
        assert load(FunctionData(**{**asked, "labels": reading})).labels_train is not None
        assert load(FunctionData(**asked, labels="values")).labels_train is None
    # The function's own shape has answered before.
    assert load(FunctionData(name=f"{mine}:signs_told")).labels_train is None
    assert load(FunctionData(name=f"{mine}:ages")).labels_train is None
    assert load(FunctionData(name=f"{mine}:signs_told", arguments={"classes": 2})).labels_train is not None


@pytest.mark.parametrize(
    ("function", "keys", "said"),
    [
        ("array", {}, "has no function 'array': did you mean 'arrays'"),
        ("arrays", {"arguments": {"wrong": 1}}, "calling it with {'wrong': 1} raised TypeError"),
        ("fails", {}, "raised ValueError: two lines"),
        ("nothing", {}, "returns NoneType"),
        ("unpaired", {}, "has x; needs"),
        ("wrong", {}, "floating-point targets"),
        ("new_class", {}, "labels_test: only test samples have the class 1; correct these labels"),
        ("labelled", {}, "labels_train: needs"),
        ("endless", {}, "x_train has values that are missing, infinite or beyond float32"),
        ("finished", {"label_noise": 0.5}, "label_noise: returns a Data, which is used unchanged"),
        ("finished", {"n_train": 21}, "n_train: 21 is more than the 20"),
        ("unsteady", {}, "must be the same for every seed"),
    ],
)
def test_what_is_wrong_with_a_function_is_one_line(mine: str, function: str, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        load(FunctionData(name=f"{mine}:{function}", **keys))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there_is_one_line(folder: Path) -> None:
    with pytest.raises(UserError, match="no_such_module: no such module in"):
        load(FunctionData(name="no_such_module:f"))
