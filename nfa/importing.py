"""What a user's ``module:name`` stands for, without torch. Every mistake is one line."""

import importlib
import sys
from pathlib import Path
from typing import Any

from nfa.errors import UserError, nearest, told
from nfa.vision import torchvision


def named(reference: str) -> Any:
    """Find what ``module:name`` names.

    Raises:
        UserError: No such module, one that cannot be imported, or nothing of that name in it.
    """
    module_name, _, name = reference.partition(":")
    module = imported(module_name)
    if not hasattr(module, name):
        raise UserError(f"{reference}: {module_name} has no {name!r}: {nearest(name, functions_of(module))}")
    return getattr(module, name)


def functions_of(module: Any) -> list[str]:
    """Names in a module that can be called and are not private."""
    return [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]


def imported(name: str) -> Any:
    """Import a module, the current folder first.

    Raises:
        UserError: It is not there, or importing it raised something.
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
