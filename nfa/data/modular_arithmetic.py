"""Modular arithmetic: the inputs are all pairs (a, b) below p, the class is a + b, a - b, a b or a / b modulo p.

The seed draws a given share of the pairs for training; the rest is for testing (Power et al., arXiv 2201.02177;
Mallinar et al., arXiv 2407.20199). Division leaves out b = 0 and needs a prime p.
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from nfa.data.options import MAX_SAMPLES, ClassOptions, finish, tagged
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting


class ModularArithmetic(ClassOptions):
    """Settings of ``modular_arithmetic``."""

    name: Literal["modular_arithmetic"] = "modular_arithmetic"
    modulus: int = setting(61, "modulus p", ge=5, le=997)
    operation: Literal["+", "-", "*", "/"] = setting("+", "operation on the pair, in quotes: '+', '-', '*', '/'")
    train_share: float = setting(0.5, "share of all pairs used for training; the rest is for testing", gt=0, lt=1)
    encoding: Literal["one_hot", "tokens"] = setting(
        "one_hot", "one_hot: a vector of 2 p inputs; tokens: two integers, for networks that read tokens"
    )
    n_train: int | None = setting(None, "keep this many of the training pairs; all if not given", ge=10, le=MAX_SAMPLES)
    n_test: int | None = setting(None, "keep this many of the test pairs; all if not given", ge=1, le=MAX_SAMPLES)

    tags = tagged(modulus="p", operation="op", train_share="f", encoding="x")
    quiet_tags = frozenset(tags)

    @model_validator(mode="after")
    def _fits(self) -> "ModularArithmetic":
        if self.operation == "/" and any(self.modulus % factor == 0 for factor in range(2, int(self.modulus**0.5) + 1)):
            raise ValueError(f"modulus: {self.modulus} is not prime, and a / b needs one; use e.g. 61")
        if self.encoding == "tokens" and self.standardise != "none":
            raise ValueError("standardise: tokens are not numbers; leave it out, or use encoding: one_hot")
        train, test = counts(self)
        for key, wanted, there in (("n_train", self.n_train, train), ("n_test", self.n_test, test)):
            if there < 1 or (wanted is not None and wanted > there):
                raise ValueError(f"{key}: there are {there} pairs; use fewer, or another train_share")
        return self


def counts(settings: ModularArithmetic) -> tuple[int, int]:
    """Count the training and the test pairs."""
    p = settings.modulus
    pairs = p * (p - 1) if settings.operation == "/" else p * p
    train = round(settings.train_share * pairs)
    return train, pairs - train


def result(a: np.ndarray, b: np.ndarray, modulus: int, operation: str) -> np.ndarray:
    """Compute the classes of pairs: (n,) and (n,) -> (n,)."""
    if operation == "/":
        inverse = np.array([0] + [pow(value, -1, modulus) for value in range(1, modulus)])
        b = inverse[b]
    classes: np.ndarray = {"+": a + b, "-": a - b, "*": a * b, "/": a * b}[operation] % modulus
    return classes


def shape(settings: ModularArithmetic) -> DataShape:
    """Describe the entry without drawing it."""
    p, tokens = settings.modulus, settings.encoding == "tokens"
    train, test = counts(settings)
    train, test = settings.n_train or train, settings.n_test or test
    return DataShape((2,) if tokens else (2 * p,), p, p, train, test, vocabulary=p if tokens else None)


def load(settings: ModularArithmetic, generator: np.random.Generator) -> Data:
    """Split all pairs at random and encode them."""
    p, (train, _) = settings.modulus, counts(settings)
    first = 1 if settings.operation == "/" else 0
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(p), np.arange(first, p), indexing="ij"))
    labels = result(a, b, p, settings.operation)
    pairs = np.stack([a, b], axis=1)
    order = generator.permutation(len(pairs))
    rows = order[:train][: settings.n_train], order[train:][: settings.n_test]
    encode = _tokens if settings.encoding == "tokens" else _one_hot
    x = encode(pairs[rows[0]], p), encode(pairs[rows[1]], p)
    return finish(settings, generator, x, (labels[rows[0]], labels[rows[1]]), p)


def _tokens(pairs: np.ndarray, p: int) -> np.ndarray:
    return pairs.astype(np.int64)


def _one_hot(pairs: np.ndarray, p: int) -> np.ndarray:
    """Code pairs (n, 2) as (n, 2 p): a single 1 for a in the first half, and one for b in the second half."""
    codes: np.ndarray = np.eye(p, dtype=np.float32)[pairs]
    return codes.reshape(len(pairs), 2 * p)


ENTRY = DataEntry(ModularArithmetic, shape, load, "a + b, a - b, a b or a / b modulo p, from a share of all pairs")
