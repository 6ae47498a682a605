"""Arguments of the command line that several verbs take."""

import argparse
import os
from collections.abc import Callable
from errno import EISDIR
from os import strerror
from pathlib import Path
from tempfile import NamedTemporaryFile

from nfa.errors import UserError, one_line


def whole(low: int, high: int, what: str) -> Callable[[str], int]:
    """Make the parser of a whole number from ``low`` to ``high``; anything else "is not ``what``"."""

    def parse(text: str) -> int:
        # Python refuses to convert thousands of digits, with a message of its own.
        if not text.isdecimal() or len(text) > len(str(high)) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{one_line(text, 40)} is not {what}")
        return int(text)

    return parse


positive = whole(1, 10**1000, "a number of 1 or more")  # whoever uses it says what is too many


def sweep_folder(text: str) -> Path:
    """Parse the folder of one sweep's results; what is not there is told by whoever reads it.

    Raises:
        ArgumentTypeError: It is a file, such as the sweep file itself.
    """
    if os.path.isfile(text):  # of a name that is too long, Path.is_file raises
        raise argparse.ArgumentTypeError(f"{text} is a file; give the folder of a sweep's results, results/<sweep>")
    return Path(text)


def try_to_write(path: Path) -> None:
    """Find out before the measurement whether its table can be written, and leave nothing.

    Raises:
        UserError: It cannot.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, strerror(EISDIR))
        # The name is as long as that of the file which will be written first.
        with NamedTemporaryFile(dir=folder, prefix=f".{path.name}.", suffix=f".tmp{path.suffix}"):
            pass
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written: {error.strerror or error}") from None
