"""``nfa init``: write a commented sweep file to start from."""

from importlib.resources import files
from pathlib import Path

from nfa.errors import UserError
from nfa.storage.atomic import write_text
from nfa.sweep.grid import SEGMENT


def write_starter(path: Path) -> None:
    """Write the commented sweep file; the sweep gets the name of the file. Nothing is overwritten.

    Raises:
        UserError: The file exists, or cannot be written.
    """
    if path.exists():
        raise UserError(f"{path}: exists already; choose another name, or remove the file first")
    name = path.stem if SEGMENT.fullmatch(path.stem) else "mine"
    text = files("nfa").joinpath("assets/starter.yaml").read_text(encoding="utf-8")
    try:
        write_text(path, text.replace("sweep: mine", f"sweep: {name}"))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
