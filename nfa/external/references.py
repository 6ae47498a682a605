"""Find what a user's ``module:name`` names. Imports no torch. Every mistake is one line."""

import importlib
import sys
from pathlib import Path
from typing import Any

from nfa.errors import USERS_MODULES, UserError, cut, nearest, one_line
from nfa.external.torchvision_import import torchvision
from nfa.external.users_code import users_code


def named(reference: str, *, alone: bool = False) -> Any:
    """Return the object that ``module:name`` names.

    Args:
        reference: The name.
        alone: As for ``users_code``.

    Raises:
        UserError: There is no such module, it cannot be imported, or it has nothing of that name.
    """
    module_name, _, name = reference.partition(":")
    module = imported(module_name, alone=alone)
    with users_code(f"{cut(reference)}: looking it up", alone=alone):  # the module's own __getattr__ may run
        if not hasattr(module, name):
            known = nearest(name, functions_of(module))
            raise UserError(f"{cut(reference)}: {cut(module_name)} has no {one_line(name)}: {known}")
        return getattr(module, name)


def functions_of(module: Any) -> list[str]:
    """Return the names of what can be called in a module and is not private."""
    return [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]


def imported(name: str, *, alone: bool = False) -> Any:
    """Import a module, looking in the current folder first.

    Args:
        name: The module.
        alone: As for ``users_code``.

    Raises:
        UserError: There is no such module, or importing it raised an exception.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if name.partition(".")[0] not in ("torch", "torchvision", "numpy"):
        USERS_MODULES.add(name.partition(".")[0])
    with users_code(f"{cut(name)}: importing it", alone=alone):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                raise UserError(f"{cut(name)}: no such module in {folder} or among the installed ones") from None
            raise
        except RuntimeError as error:
            if "operator torchvision::" not in str(error):
                raise
            torchvision()  # the module imports torchvision, which this makes importable
            return importlib.import_module(name)
