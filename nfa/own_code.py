"""Code of the user's own, named ``module:function``. Every mistake in it is one line. Imports no torch."""

import importlib
import sys
from pathlib import Path
from typing import Any

from nfa.errors import UserError, nearest
from nfa.vision import torchvision

LONGEST_MESSAGE = 400


def find(reference: str, what: str = "") -> Any:
    """Find what ``module:name`` names.

    Args:
        reference: A module that Python finds (the current folder included), a colon, and a name in it.
        what: What it should be, with a space, for the message.

    Raises:
        UserError: No such module, or nothing of that name in it.
    """
    module_name, _, name = reference.partition(":")
    module = imported(module_name)
    if not hasattr(module, name):
        valid = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(f"{reference}: {module_name} has no {what}{name!r}: {nearest(name, valid)}")
    return getattr(module, name)


def imported(name: str) -> Any:
    """Import a module, the current folder first.

    Raises:
        UserError: There is none, or importing it raises.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(f"{name}: no such module in {folder} or among the installed ones") from None
        raise UserError(f"{name}: importing it raised {told(error)}") from None
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise UserError(f"{name}: importing it raised {told(error)}") from None
    except (Exception, SystemExit) as error:
        raise UserError(f"{name}: importing it raised {told(error)}") from None
    torchvision()  # the module uses it: it can be imported once this has made up for what it lacks
    return imported(name)


def told(error: BaseException) -> str:
    """Name an exception and what it says, in one line; some of torch's go on for pages, with a C++ stack."""
    message = " ".join(str(error).partition("\nException raised from")[0].split())
    message = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 3] + "..."
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
