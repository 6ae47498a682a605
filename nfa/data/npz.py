"""Read an .npz file: the headers of its arrays, their smallest and largest values, and the arrays themselves.

No array is unpickled. Planning a sweep reads large arrays piece by piece and does not keep them in memory.
"""

import math
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from nfa.data.arrays import Header
from nfa.errors import UserError, one_line

PIECE = 1 << 24  # bytes read at a time


@lru_cache(maxsize=100)
def headers(path: Path, digest: str) -> dict[str, Header]:
    """Read the shape and number type of every array; remembered for a file with this digest.

    Raises:
        UserError: An array holds Python objects.
    """
    found: dict[str, Header] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                found[member.removesuffix(".npy")] = _header(stream)
    pickled = [name for name, (_, dtype) in found.items() if dtype.hasobject]
    if pickled:
        raise UserError(f"{path}: {one_line(pickled[0])} holds Python objects, which are not read; save plain arrays")
    return found


def read(path: Path, name: str) -> np.ndarray:
    """Read one array."""
    with np.load(path, allow_pickle=False) as arrays:
        array: np.ndarray = arrays[name]
    return array


@lru_cache(maxsize=1000)
def extremes(path: Path, digest: str, name: str) -> tuple[Any, Any]:
    """Find the smallest and the largest value of an array of numbers; both are NaN if any value is."""
    with zipfile.ZipFile(path) as archive:
        member = name if name in archive.namelist() else f"{name}.npy"
        with archive.open(member) as stream:
            shape, dtype = _header(stream)
            left, pieces = math.prod(shape) * dtype.itemsize, []
            while left > 0:
                block = stream.read(min(left, PIECE // dtype.itemsize * dtype.itemsize))
                if not block:
                    raise ValueError(f"{name}: {left} bytes are missing")
                left -= len(block)
                values = np.frombuffer(block, dtype)
                pieces.append((values.min(), values.max()))
    low, high = (np.array(ends) for ends in zip(*pieces, strict=True))
    return low.min(), high.max()


def _header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    is_first = version == (1, 0)
    read_header = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    return shape, dtype
