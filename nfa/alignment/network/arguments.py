"""Options that the public functions share, and their checks, which are made before anything is computed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

ESTIMATORS = ("auto", "exact", "sketched")


def checked_whole(name: str, value: Any, least: int | None = 1) -> int:
    """Check that an option is a whole number.

    Args:
        name: Name of the option.
        value: The value that was given.
        least: The smallest value allowed; None allows all.

    Raises:
        ValueError: The value is no whole number, or too small.
    """
    if not isinstance(value, Integral) or isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}: {value!r} must be a whole number")
    if least is not None and value < least:
        raise ValueError(f"{name}: {value} must be at least {least}")
    return int(value)


def checked_layers(layers: Any) -> list[str] | None:
    """Check names of layers and return them as a list, because an iterator can be read only once.

    Raises:
        ValueError: Text in place of a list, an empty list, or a name that is no text.
    """
    return checked_names("layers", "layer", layers)


def checked_names(option: str, noun: str, given: Any) -> list[str] | None:
    """Check a list of names and return it as a list, because an iterator can be read only once.

    Args:
        option: Name of the option, which is the plural of ``noun``.
        noun: Word for one of the things that are named.
        given: The names; None for all.

    Raises:
        ValueError: Text in place of a list, an empty list, or a name that is no text.
    """
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"{option}: {given!r} is not a list of names; pass for instance [{str(given)!r}]")
    names = list(given)
    if not names:
        raise ValueError(f"{option}: the list is empty; name at least one {noun}, or pass None for all")
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"{option}: {name!r} is not text; names of {option} are, such as {str(name)!r}")
    return names


def check_options(**given: Any) -> None:
    """Check options by their names.

    Args:
        given: Any of ``estimator``, ``samples``, ``probes``, ``batch_size``, ``seed``, ``step``,
            ``weight_decay``, ``decoupled_decay``, ``heads``;
            ``samples`` and ``batch_size`` may be None. Options of other names are not checked.

    Raises:
        ValueError: The value of an option cannot be used.
    """
    if "estimator" in given and given["estimator"] not in ESTIMATORS:
        raise ValueError(f"estimator: {given['estimator']!r} is none of {', '.join(ESTIMATORS)}")
    for name in ("probes", "samples", "batch_size"):
        if name in given and not (given[name] is None and name != "probes"):
            checked_whole(name, given[name])
    for name, least in (("seed", 0), ("step", None)):
        if name in given:
            checked_whole(name, given[name], least)
    for name in ("weight_decay", "decoupled_decay"):
        decay = given.get(name, 0.0)
        if not isinstance(decay, Real) or not 0 <= float(decay) < math.inf:
            raise ValueError(f"{name}: {decay!r} must be a number of at least 0")
    if not isinstance(given.get("heads", False), bool | np.bool_):
        raise ValueError(f"heads: {given['heads']!r} must be True or False")


@dataclass(frozen=True, kw_only=True, eq=False)
class CovarianceOptions:
    """How K of every layer is measured; the keyword arguments of ``measure_covariances``, which explains them.

    Raises:
        ValueError: An option that cannot be used.
    """

    layers: Sequence[str] | None = None
    estimator: str = "auto"
    samples: int | None = None
    probes: int = 1
    seed: int = 0
    heads: bool = False
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Validate, and read the names of layers once: an iterator is empty when it is read a second time."""
        check_options(**vars(self))
        object.__setattr__(self, "layers", checked_layers(self.layers))
