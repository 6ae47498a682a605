"""torchvision, also where its compiled operations cannot be loaded.

torchvision's wheels are built for one build of torch. Beside another (a CUDA wheel beside a CPU torch) its library does
not load, and the package stops at its import because it describes the shapes of two operations that are then missing.
Declaring the two is enough for everything that is written in Python: all classification networks and data sets. To
call them is an error that says so.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

from nfa.errors import UserError

_DESCRIBED = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[Any] = []  # a library's operations go when it is garbage


def torchvision() -> ModuleType:
    """Import torchvision.

    Raises:
        UserError: It is not installed, or does not fit the installed torch.
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
    """Import torchvision; leave nothing of a failed attempt behind, which the next would find half-made."""
    before = set(sys.modules)
    try:
        return importlib.import_module("torchvision")
    except Exception:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "torchvision":
                del sys.modules[name]
        raise


def _declare() -> None:
    """Declare the operations whose shapes torchvision describes at its import."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _DESCRIBED:
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SCHEMA)
    _declared.append(library)
