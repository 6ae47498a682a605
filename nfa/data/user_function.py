"""Data that a function of the user makes: ``name: module:function``.

The function is called with ``arguments`` and, if it has a parameter ``generator``, with a numpy generator that the seed
determines. It returns a mapping of arrays (see ``nfa.data.arrays``), or a ``Data``, which is used unchanged. Planning a
sweep calls the function once. A slow function can have an attribute ``shape``: planning then calls ``function.shape``
with the arguments, which returns a ``DataShape``. Only the name and the arguments identify such data, so a function
whose data change needs a new name.
"""

import hashlib
import inspect
import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import numpy as np

from nfa.data.arrays import ArrayOptions, check_test_classes, from_arrays
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import non_default, setting
from nfa.errors import UserError, cut, nearest, one_line
from nfa.external.references import functions_of, imported
from nfa.external.users_code import users_code


class FunctionData(ArrayOptions):
    """Settings of data that are named ``module:function``."""

    name: str = setting(..., "module:function that makes the data; the current folder is searched first")
    arguments: dict[str, bool | int | float | str] = setting({}, "arguments that the function is called with, by name")


_KEPT = frozenset({"name", "arguments", "n_train", "n_test", "vocabulary"})  # settings that apply to a Data too


def shape(settings: FunctionData) -> DataShape:
    """Call the function's attribute ``shape`` if there is one, else the function itself.

    Raises:
        UserError: There is no such function, or it does not return data.
    """
    return _shape(settings.model_dump_json())


def load(settings: FunctionData, generator: np.random.Generator) -> Data:
    """Call the function.

    Raises:
        UserError: There is no such function, it does not return data, or the data differ from the planned shape.
    """
    promised = shape(settings)
    data = _made(settings, generator, promised)
    if _described(data, settings) != replace(promised, relevant=None):
        gives = f"{data.x_train.shape} and {data.x_test.shape} inputs, {data.y_train.shape[1]} outputs"
        raise UserError(
            f"{settings.name}: gives {gives}, but {promised} was planned; it must be the same for every seed"
        )
    return data


@lru_cache(maxsize=1000)
def _shape(settings_json: str) -> DataShape:
    settings = FunctionData.model_validate_json(settings_json)
    own = getattr(_function(settings.name), "shape", None)
    if own is None:
        return _described(_made(settings, np.random.default_rng(0)), settings)
    promised = _call(settings, own, f"{settings.name}.shape", {})
    if not isinstance(promised, DataShape):
        raise UserError(f"{settings.name}.shape: returns {type(promised).__name__}, not a nfa.data.DataShape")
    return replace(
        promised, n_train=settings.training[1] or promised.n_train, n_test=settings.n_test or promised.n_test
    )


def _made(settings: FunctionData, generator: np.random.Generator, promised: DataShape | None = None) -> Data:
    """Call the function and check the data that it returns; ``promised`` is the planned shape."""
    where, function = cut(settings.name), _function(settings.name)
    takes = _takes_generator(function)
    made = _call(settings, function, where, {"generator": generator} if takes else {})
    if isinstance(made, Data):
        with users_code(f"{where}: reading the Data it returns"):
            data = _kept(made, settings)
        if not takes:
            _same_again(settings, [getattr(data, field.name) for field in fields(data)])
        return data
    if not isinstance(made, Mapping):
        raise UserError(f"{where}: returns {type(made).__name__}, not a mapping of arrays or a nfa.data.Data")
    with users_code(f"{where}: reading the arrays it returns"):  # tensors, or classes of the user's
        arrays = {str(name): np.asarray(array) for name, array in made.items()}
    if not takes:
        _same_again(settings, arrays.values())
    return from_arrays(where, arrays, settings, generator, promised)


_digests: dict[str, bytes] = {}  # settings -> digest of the data that the function returned first


def _same_again(settings: FunctionData, arrays: Iterable[Any]) -> None:
    """Refuse a function that returns other data at each call, because training and measuring would use different data.

    Raises:
        UserError: The data differ from those of an earlier call in this process.
    """
    summed = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if array is not None and array.dtype.kind != "O":  # Python objects have no bytes of their own
            summed.update(f"{array.dtype.str} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())
    digest = summed.digest()
    if _digests.setdefault(settings.model_dump_json(), digest) != digest:
        raise UserError(
            f"{cut(settings.name)}: gives other data each time it is called; draw from a parameter `generator`, which "
            f"the seed names"
        )


def _takes_generator(function: Any) -> bool:
    try:
        return "generator" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function that is not written in Python
        return False


def _call(settings: FunctionData, function: Any, where: str, more: dict[str, Any]) -> Any:
    with users_code(f"{where}: calling it with {one_line(settings.arguments)}"), _seeded():
        return function(**settings.arguments, **more)


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed the global random generators, and restore them afterwards, so that every stage sees the same data.

    The seed is always 0: data that are to differ by seed are drawn from the parameter ``generator``.
    """
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may draw from it
    torch = sys.modules.get("torch")  # imported later, by the user's module, torch is seeded by that import
    state = None if torch is None else torch.get_rng_state()
    try:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        if torch is not None:
            torch.default_generator.manual_seed(0)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(state)


def _kept(data: Data, settings: FunctionData) -> Data:
    """Check a ``Data`` and keep its first ``n_train`` and ``n_test`` samples."""
    where, refused = settings.name, sorted(set(non_default(settings)) - _KEPT)
    if refused:
        raise UserError(f"{where}: {refused[0]}: returns a Data, which is used unchanged; return a mapping of arrays")
    x_kind, kind = ("i", "whole numbers") if settings.vocabulary else ("f", "floating-point numbers")
    parts = []
    for split, wanted in (("train", settings.n_train), ("test", settings.n_test)):
        x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        labels = getattr(data, f"labels_{split}")
        if x.dtype.kind != x_kind or y.dtype.kind != "f" or x.ndim < 2 or y.ndim != 2 or not 0 < len(x) == len(y):
            raise UserError(
                f"{where}: {split}: x is {x.dtype} {x.shape}, y {y.dtype} {y.shape}; needs (n, ...) {kind} and (n, C) "
                f"floating-point targets"
            )
        if (labels is None) != (data.labels_train is None) or (
            labels is not None
            and (
                labels.shape != (len(x),)
                or labels.dtype.kind not in "iu"
                or not 0 <= labels.min() <= labels.max() < y.shape[1]
            )
        ):
            raise UserError(
                f"{where}: labels_{split}: needs (n,) whole numbers below the {y.shape[1]} outputs, in both splits"
            )
        keep = slice(_enough(where, split, wanted, len(x)))
        number = np.int64 if settings.vocabulary else np.float32
        with np.errstate(over="ignore"):
            x, y = np.ascontiguousarray(x[keep], number), np.ascontiguousarray(y[keep], np.float32)
        for name, values in (("x", x), ("y", y)):
            if not np.isfinite(values).all():
                raise UserError(
                    f"{where}: {name}_{split} has values that are missing, infinite or beyond float32; remove or "
                    f"replace them"
                )
        parts += [x, y, None if labels is None else labels[keep].astype(np.int64)]
    if data.labels_train is not None and data.labels_test is not None:
        check_test_classes(where, "labels_test", data.labels_train, data.labels_test)
    x_train, y_train, labels_train, x_test, y_test, labels_test = parts
    assert x_train is not None
    assert x_test is not None
    if x_train.shape[1:] != x_test.shape[1:] or data.y_train.shape[1] != data.y_test.shape[1]:
        raise UserError(f"{where}: training and test samples differ in shape")
    assert y_train is not None
    assert y_test is not None
    return Data(x_train, y_train, x_test, y_test, labels_train, labels_test, data.directions)


def _enough(where: str, split: str, wanted: int | None, there: int) -> int:
    """Return the number of samples to keep; refuse more than there are."""
    if wanted is not None and wanted > there:
        raise UserError(f"{where}: n_{split}: {wanted} is more than the {there} available samples; use fewer")
    return wanted or there


def _described(data: Data, settings: FunctionData) -> DataShape:
    """Return the shape of a loaded data set."""
    outputs = data.y_train.shape[1]
    return DataShape(
        tuple(data.x_train.shape[1:]),
        outputs,
        None if data.labels_train is None else outputs,
        len(data.x_train),
        len(data.x_test),
        vocabulary=settings.vocabulary,
    )


def _function(reference: str) -> Any:
    """Find the function that ``module:function`` names."""
    module_name, _, name = reference.partition(":")
    module = imported(module_name)
    if not callable(getattr(module, name, None)):
        known = nearest(name, functions_of(module))
        raise UserError(f"{cut(reference)}: {cut(module_name)} has no function {one_line(name)}: {known}")
    return getattr(module, name)


ENTRY = DataEntry(FunctionData, shape, load, "arrays that your own function makes, module:function")
