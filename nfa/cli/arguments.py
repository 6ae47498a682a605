"""Arguments of the command line that several verbs share."""

import argparse
import os
from collections.abc import Callable
from errno import EISDIR
from os import strerror
from pathlib import Path
from tempfile import NamedTemporaryFile

from nfa.errors import UserError, one_line


def whole(low: int, high: int, what: str) -> Callable[[str], int]:
    """Return a parser of whole numbers from ``low`` to ``high``; its error message is "... is not ``what``"."""

    def parse(text: str) -> int:
        # The length is checked first: Python refuses to convert thousands of digits, with its own message.
        if not text.isdecimal() or len(text) > len(str(high)) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{one_line(text, 40)} is not {what}")
        return int(text)

    return parse


positive = whole(1, 10**1000, "a number of 1 or more")  # the code that uses the number refuses too large ones


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option for the device that computes."""
    text = "device that computes (default: auto, CUDA if there is one)"
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=text)


def sweep_folder(text: str) -> Path:
    """Parse the folder of one sweep's results. A missing folder is reported by the code that reads it.

    Raises:
        ArgumentTypeError: It is a file, such as the sweep file itself.
    """
    if os.path.isfile(text):  # Path.is_file raises on a name that is too long
        raise argparse.ArgumentTypeError(f"{text} is a file; give the folder of a sweep's results, results/<sweep>")
    return Path(text)


def try_to_write(path: Path) -> None:
    """Check, before the measurement, that its table can be written; no file is left behind.

    Raises:
        UserError: The file cannot be written.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, strerror(EISDIR))
        # The name is as long as that of the temporary file which will be written first.
        with NamedTemporaryFile(dir=folder, prefix=f".{path.name}.", suffix=f".tmp{path.suffix}"):
            pass
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written: {error.strerror or error}") from None
