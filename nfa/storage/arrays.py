"""Named arrays in one compressed file (.npz)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from nfa.errors import UserError, one_line
from nfa.storage.atomic import replacing
from nfa.storage.tables import UNREADABLE, array_names


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz archive, whole or not at all; equal arrays give equal bytes."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **cast(dict[str, Any], arrays))


def read_arrays(path: Path, wanted: Callable[[str], bool] = bool) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz archive whose names are wanted, all by default; nothing is unpickled.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is damaged.
    """
    try:
        names = array_names(path)
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if wanted(name)}
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise UserError(
            f"{path}: damaged ({one_line(str(error), 80)}); remove it, and `nfa measure` writes it again"
        ) from None
