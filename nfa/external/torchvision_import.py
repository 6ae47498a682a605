"""Import torchvision, also where its compiled operations cannot be loaded.

A torchvision wheel is built for one build of torch. With another build (a CUDA wheel with a CPU torch) its compiled
library does not load. The import then fails, because torchvision describes the shapes of two operations that are
missing. Declaring these two is enough for everything that is written in Python, which includes all classification
networks and data sets. Calling one of the two raises an error that names it.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

from nfa.errors import UserError

_DESCRIBED = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[Any] = []  # keeps the library alive, and with it the operations


def torchvision() -> ModuleType:
    """Import torchvision.

    Raises:
        UserError: torchvision is not installed, or does not fit the installed torch.
    """
    try:
        return _imported()
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise UserError("torchvision is not installed: pip install -c constraints.txt torchvision") from None
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise UserError(f"torchvision does not fit the installed torch: {error}") from None
    _declare()
    return _imported()


def _imported() -> ModuleType:
    """Import torchvision; after a failure, remove its half-initialised modules so that it can be imported again."""
    before = set(sys.modules)
    try:
        return importlib.import_module("torchvision")
    except Exception:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "torchvision":
                del sys.modules[name]
        raise


def _declare() -> None:
    """Declare the operations whose shapes torchvision describes when it is imported."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _DESCRIBED:
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SCHEMA)
    _declared.append(library)
