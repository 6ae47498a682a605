"""The data axis: promised shapes, use of the random generator, known values."""

import hashlib
from importlib.resources import files

import numpy as np
import pytest

from nfa.data import DATA
from nfa.data.chain_monomial import ChainMonomial, target
from nfa.data.fashion_mini import FashionMini
from nfa.data.one_hot import centred_one_hot
from nfa.random import named_seed, numpy_generator

CASES = [FashionMini(), FashionMini(n_train=300, n_test=50), ChainMonomial(), ChainMonomial(dim=4, rank=4, n_train=20)]


@pytest.mark.parametrize("settings", CASES, ids=repr)
def test_an_entry_loads_what_its_shape_promises(settings: FashionMini | ChainMonomial) -> None:
    entry = DATA[settings.name]
    shape, data = entry.shape(settings), entry.load(settings, numpy_generator("data", 0))
    assert data.x_train.shape == (shape.n_train, *shape.input_shape)
    assert data.x_test.shape == (shape.n_test, *shape.input_shape)
    assert data.y_train.shape == (shape.n_train, shape.outputs)
    assert data.y_test.shape == (shape.n_test, shape.outputs)
    assert (data.labels_train is None) == (shape.classes is None)
    assert {array.dtype for array in (data.x_train, data.y_train, data.x_test, data.y_test)} == {np.dtype(np.float32)}
    assert np.isfinite(data.x_train).all()


def test_fashion_mini_is_the_file_with_the_published_checksum() -> None:
    folder = files("nfa.data").joinpath("files")
    digest = hashlib.sha256(folder.joinpath("fashion_mini.npz").read_bytes()).hexdigest()
    assert folder.joinpath("fashion_mini.npz.sha256").read_text().split()[0] == digest


def test_fashion_mini_is_standardised_by_its_training_images_and_holds_every_class() -> None:
    data = DATA["fashion_mini"].load(FashionMini(), numpy_generator("data", 0))
    assert abs(float(data.x_train.mean(dtype=np.float64))) < 1e-5
    assert abs(float(data.x_train.std(dtype=np.float64)) - 1) < 1e-5
    assert data.labels_train is not None
    assert np.bincount(data.labels_train, minlength=10).min() > 400
    assert (data.y_train.argmax(axis=1) == data.labels_train).all()


def test_chain_monomial_known_values() -> None:
    x = np.array([[1.0, 2.0, 3.0, 99.0], [0.0, 1.0, 0.0, 99.0]])
    np.testing.assert_allclose(target(x, 3), [[(1 * 2 + 2 * 3 + 3 * 1) / np.sqrt(3)], [0.0]])
    data = DATA["chain_monomial"].load(ChainMonomial(n_train=20_000), numpy_generator("data", 0))
    assert abs(float(data.y_train.std()) - 1) < 0.05


def test_draws_depend_on_purpose_seed_and_content_and_on_nothing_else() -> None:
    settings = ChainMonomial(n_train=16)
    load = DATA["chain_monomial"].load
    first = load(settings, numpy_generator("data", 0, data={"name": "chain_monomial"})).x_train
    np.random.default_rng(5).random(100)
    again = load(settings, numpy_generator("data", 0, data={"name": "chain_monomial"})).x_train
    other = load(settings, numpy_generator("data", 1, data={"name": "chain_monomial"})).x_train
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    seeds = {named_seed(p, s, a=a) for p in ("data", "weights") for s in range(3) for a in ("x", "y")}
    assert len(seeds) == 12
    assert named_seed("data", 0, a=1, b=2) == named_seed("data", 0, b=2, a=1)


def test_centred_one_hot_rows_sum_to_zero() -> None:
    coded = centred_one_hot(np.array([2, 0]), 4)
    np.testing.assert_allclose(coded, [[-0.25, -0.25, 0.75, -0.25], [0.75, -0.25, -0.25, -0.25]])


def test_default_options_leave_the_first_entries_bit_for_bit_as_they_were() -> None:
    """The values stay the same, so finished cells stay valid."""
    with files("nfa.data").joinpath("files/fashion_mini.npz").open("rb") as stream:
        raw = np.load(stream, allow_pickle=False)
        x, labels = raw["x_train"][:300, None].astype(np.float32), raw["y_train"][:300].astype(np.int64)
    mean, deviation = x.mean(dtype=np.float64), x.std(dtype=np.float64)
    data = DATA["fashion_mini"].load(FashionMini(n_train=300), numpy_generator("data", 0))
    np.testing.assert_array_equal(data.x_train, ((x - mean) / deviation).astype(np.float32))
    np.testing.assert_array_equal(data.y_train, centred_one_hot(labels, 10))
    drawn = DATA["chain_monomial"].load(ChainMonomial(), numpy_generator("data", 0))
    x = numpy_generator("data", 0).standard_normal((2048, 32)).astype(np.float32)
    np.testing.assert_array_equal(drawn.x_train, x[:1024])
    np.testing.assert_array_equal(drawn.y_test, target(x[1024:].astype(np.float64), 5).astype(np.float32))
