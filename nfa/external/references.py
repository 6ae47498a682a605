"""What a user's ``module:name`` stands for, without torch. Every mistake is one line."""

import importlib
import sys
from pathlib import Path
from typing import Any

from nfa.errors import USERS_MODULES, UserError, cut, nearest, one_line
from nfa.external.torchvision_import import torchvision
from nfa.external.users_code import users_code


def named(reference: str, *, alone: bool = False) -> Any:
    """Find what ``module:name`` names.

    Args:
        reference: The name.
        alone: As for ``users_code``.

    Raises:
        UserError: No such module, one that cannot be imported, or nothing of that name in it.
    """
    module_name, _, name = reference.partition(":")
    module = imported(module_name, alone=alone)
    with users_code(f"{cut(reference)}: looking it up", alone=alone):  # a module can have a __getattr__ of its own
        if not hasattr(module, name):
            known = nearest(name, functions_of(module))
            raise UserError(f"{cut(reference)}: {cut(module_name)} has no {one_line(name)}: {known}")
        return getattr(module, name)


def functions_of(module: Any) -> list[str]:
    """Names in a module that can be called and are not private."""
    return [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]


def imported(name: str, *, alone: bool = False) -> Any:
    """Import a module, the current folder first.

    Args:
        name: The module.
        alone: As for ``users_code``.

    Raises:
        UserError: It is not there, or importing it raised something.
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
            torchvision()  # the module uses it: it can be imported once this has made up for what it lacks
            return importlib.import_module(name)
