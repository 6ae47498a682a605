"""Every entry that needs no file loads the shape that it promises, and options mean the same for all entries."""

import inspect
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from nfa.data import DATA, Data, DataEntry, DataShape
from nfa.data.options import ClassOptions, Options
from nfa.entries import USERS_OWN, Settings, non_default
from nfa.random import numpy_generator

FILES = {"file", USERS_OWN, "mnist", "fashion_mnist", "kmnist", "emnist", "cifar10", "cifar100", "svhn", "stl10"}
FILES |= {"gtsrb", "celeba"}
OWN = sorted(set(DATA) - FILES)
MORE: list[dict[str, Any]] = [
    {"name": "fashion_mini", "n_train": 300, "n_test": 50},
    {"name": "gaussian_power_law", "target": "chain", "rank": 3, "alpha": 0.5},
    {"name": "single_index", "along": "axes", "degree": 1},
    {"name": "multi_index", "along": "axes", "link": "product"},
    {"name": "sparse_parity", "dim": 3, "degree": 3},
    {"name": "teacher", "activation": "erf", "units": 2, "dim": 2},
    {"name": "nongaussian", "inputs": "gaussian", "dim": 33},
    {"name": "modular_arithmetic", "encoding": "tokens", "modulus": 7, "n_train": 10},
    {"name": "modular_arithmetic", "operation": "/", "modulus": 7, "train_share": 0.8},
    {"name": "modular_arithmetic", "operation": "*", "modulus": 8},
    {"name": "iris", "n_train": 50, "n_test": 10},
    {"name": "digits", "test_share": 0.5, "standardise": "per_feature"},
]
CASES: list[dict[str, Any]] = [*({"name": name} for name in OWN), *MORE]


def made(**keys: Any) -> tuple[DataEntry, Any]:
    entry = DATA[keys["name"]]
    return entry, entry.settings(**keys)


def loaded(seed: int = 0, **keys: Any) -> Data:
    entry, settings = made(**keys)
    return entry.load(settings, numpy_generator("data", seed))


def check(shape: DataShape, data: Data) -> None:
    """Compare loaded data with the promised shape."""
    number, real = np.dtype(np.float32 if shape.vocabulary is None else np.int64), np.dtype(np.float32)
    for x, y, labels, n in (
        (data.x_train, data.y_train, data.labels_train, shape.n_train),
        (data.x_test, data.y_test, data.labels_test, shape.n_test),
    ):
        assert (x.shape, x.dtype) == ((n, *shape.input_shape), number)
        assert (y.shape, y.dtype) == ((n, shape.outputs), real)
        assert np.isfinite(x).all()
        assert np.isfinite(y).all()
        assert (labels is None) == (shape.classes is None)
        if labels is not None:
            assert (labels.shape, labels.dtype) == ((n,), np.dtype(np.int64))
            assert shape.classes == shape.outputs
            assert labels.min() >= 0
            assert (y.argmax(axis=1) == labels).all()
            np.testing.assert_allclose(y.sum(axis=1), 0, atol=1e-5)
        if shape.vocabulary is not None:
            assert 0 <= x.min() <= x.max() < shape.vocabulary
    if data.directions is not None:
        d, r = data.directions.shape
        assert (d, data.directions.dtype) == (math.prod(shape.input_shape), real)
        np.testing.assert_allclose(data.directions.T @ data.directions, np.eye(r), atol=1e-5)


@pytest.mark.parametrize("keys", CASES, ids=str)
def test_an_entry_loads_what_its_shape_promises(keys: dict[str, Any]) -> None:
    entry, settings = made(**keys)
    check(entry.shape(settings), loaded(**keys))


@pytest.mark.parametrize("keys", CASES, ids=str)
def test_a_seed_decides_everything(keys: dict[str, Any]) -> None:
    first, again, other = loaded(0, **keys), loaded(0, **keys), loaded(1, **keys)
    for name in ("x_train", "y_train", "x_test", "y_test", "directions"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert np.array_equal(first.x_train, other.x_train) == (keys["name"] == "fashion_mini")


@pytest.mark.parametrize("keys", [keys for keys in CASES if keys["name"] != "sparse_parity"], ids=str)
def test_no_test_sample_is_a_training_sample(keys: dict[str, Any]) -> None:
    """Some samples occur twice in a real data set, and a few of them are in both splits."""
    data = loaded(**keys)
    train = {row.tobytes() for row in data.x_train}
    shared = sum(row.tobytes() in train for row in data.x_test)
    assert shared <= (2 if keys["name"] in ("iris", "wine", "fashion_mini") else 0)


@pytest.mark.parametrize("name", sorted(DATA))
def test_every_setting_has_a_default_a_description_and_the_options(name: str) -> None:
    kind = DATA[name].settings
    assert issubclass(kind, Options)
    for key, field in kind.model_fields.items():
        assert field.description or key == "name", key
    classes = None
    if name in OWN:
        entry, settings = made(name=name)
        assert set(non_default(settings)) <= {"name"}
        classes = entry.shape(settings).classes
        assert issubclass(kind, ClassOptions) == (classes is not None)
    assert len(inspect.getdoc(kind) or "") > 5
    assert set(kind.tags) <= set(kind.model_fields)


def test_options_mean_the_same_everywhere() -> None:
    """Options of one name have one description, except the numbers of samples."""
    said: dict[str, set[str]] = {}
    for entry in DATA.values():
        for key in ("standardise", "label_noise", "centre"):
            field = entry.settings.model_fields.get(key)
            if field is not None:
                said.setdefault(key, set()).add(str(field.description))
    assert {key: len(found) for key, found in said.items()} == {"standardise": 1, "label_noise": 1, "centre": 1}


@pytest.mark.parametrize("name", [name for name in OWN if name != "modular_arithmetic"])
@pytest.mark.parametrize("over", ["global", "per_channel", "per_feature"])
def test_training_inputs_are_standardised(name: str, over: str) -> None:
    data, raw = loaded(name=name, standardise=over), loaded(name=name, standardise="none")
    x, given = data.x_train.astype(np.float64), raw.x_train.astype(np.float64)
    axes = tuple(range(x.ndim)) if over == "global" else (0, *range(2, x.ndim)) if over == "per_channel" else (0,)
    np.testing.assert_allclose(x.mean(axis=axes), 0, atol=1e-4)
    varied = given.std(axis=axes) > 0
    np.testing.assert_allclose(x.std(axis=axes), np.where(varied, 1, 0), atol=1e-4)
    scale = np.where(varied, given.std(axis=axes), 1)
    expected = (raw.x_test - given.mean(axis=axes, keepdims=True)) / scale.reshape(
        given.mean(axis=axes, keepdims=True).shape
    )
    np.testing.assert_allclose(data.x_test, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", OWN)
def test_label_noise_touches_training_targets_alone(name: str) -> None:
    keys: dict[str, Any] = {"name": name} | ({"n_train": 5000} if "n_train" in made(name=name)[1].tags else {})
    keys = {"name": name} if name in ("digits", "diabetes", "iris", "wine", "breast_cancer") else keys
    keys = {"name": name} if name == "modular_arithmetic" else keys
    clean, noisy = loaded(**keys), loaded(**keys, label_noise=0.4)
    for array in ("x_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(clean, array), getattr(noisy, array))
    n = len(clean.x_train)
    if clean.labels_train is None:
        added = noisy.y_train - clean.y_train
        assert added.std() / clean.y_train.std() == pytest.approx(0.4, rel=4 / np.sqrt(n))
    else:
        assert noisy.labels_train is not None
        expected = 0.4 * (1 - 1 / clean.y_train.shape[1])
        changed = (clean.labels_train != noisy.labels_train).mean()
        assert changed == pytest.approx(expected, abs=4 * np.sqrt(expected / n))
        assert (noisy.y_train.argmax(axis=1) == noisy.labels_train).all()


def test_centring_is_one_over_c() -> None:
    centred, plain = loaded(name="digits"), loaded(name="digits", centre=False)
    np.testing.assert_allclose(plain.y_train - centred.y_train, 0.1, atol=1e-7)
    assert set(np.unique(plain.y_train)) == {0.0, 1.0}


def test_a_regression_has_no_classes_to_centre() -> None:
    with pytest.raises(ValidationError, match="centre"):
        made(name="diabetes", centre=False)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"name": "chain_monomial", "dim": 3, "rank": 4}, "rank: 4 is more than dim 3"),
        ({"name": "multi_index", "dim": 3, "rank": 4}, "rank: 4 is more than dim 3"),
        ({"name": "gaussian_power_law", "rank": 4}, "rank: a linear target has no rank"),
        ({"name": "staircase", "dim": 3, "degree": 4}, "degree: 4 is more than dim 3"),
        ({"name": "sparse_parity", "dim": 3, "degree": 4}, "degree: 4 is more than dim 3"),
        ({"name": "teacher", "dim": 3, "units": 4}, "units: 4 is more than dim 3"),
        ({"name": "nongaussian", "xi_long": 17.0}, "xi_long: 17 is more than a quarter of dim 64"),
        ({"name": "modular_arithmetic", "modulus": 9, "operation": "/"}, "modulus: 9 is not prime"),
        ({"name": "modular_arithmetic", "encoding": "tokens", "standardise": "global"}, "standardise: tokens"),
        ({"name": "modular_arithmetic", "modulus": 5, "n_train": 20}, "n_train: there are 12 pairs"),
        ({"name": "iris", "n_train": 121}, "n_train: 121 is more than the 120 available samples"),
        ({"name": "mnist", "n_test": 10_001}, "n_test: 10001 is more than the 10000 available images"),
        ({"name": "file", "path": "x.txt"}, "path: 'x.txt' does not end in .npz, .csv or .parquet"),
        ({"name": "file", "path": "x.npz", "target": "y"}, "target: names a column of a table"),
        ({"name": "file", "path": "x.csv", "target": "y", "targets": "z"}, "targets: target is given too"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        made(**keys)
    assert said in str(caught.value)


def test_planning_loads_no_library_that_only_loading_needs() -> None:
    code = (
        "import sys; from nfa.data import DATA\n"
        f"for name in {sorted(set(DATA) - {'file', USERS_OWN})!r}: DATA[name].shape(DATA[name].settings(name=name))\n"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'scipy', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_where_a_copy_lies_is_no_part_of_what_the_data_are() -> None:
    settings: Settings = made(name="cifar10", root="/elsewhere", download=False)[1]
    assert non_default(settings) == {"name": "cifar10"}
