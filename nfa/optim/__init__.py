"""The optimizer axis of a sweep.

Each optimizer has one file here with its settings (``AdamSettings``) and a function ``build`` that makes the torch
optimizer. Optimizers that PyTorch does not have are in ``algorithms/``. ``entry`` has the common interface,
``schedule`` the learning rates over time. ``layer_speeds`` and ``adapt`` belong to ``slo``, Speed Limited Optimization,
which gives each layer a speed. To add an optimizer, write such a file and name its ``ENTRY`` in ``OPTIMIZERS``. torch
is imported on first use, so that planning a sweep does not wait for it.
"""

from importlib import import_module
from typing import Any

from nfa.optim import adam, adamw, lion, muon, rmsprop, sgd, signsgd, slo
from nfa.optim.entry import OptimizerEntry, OptimizerSettings, set_learning_rate
from nfa.optim.schedule import schedule_factor

OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": sgd.ENTRY,
    "adam": adam.ENTRY,
    "adamw": adamw.ENTRY,
    "rmsprop": rmsprop.ENTRY,
    "lion": lion.ENTRY,
    "signsgd": signsgd.ENTRY,
    "muon": muon.ENTRY,
    "slo": slo.ENTRY,
}

_LAZY = {
    "Muon": "nfa.optim.algorithms.muon",
    "SignDescent": "nfa.optim.algorithms.sign",
    "SpeedLimited": "nfa.optim.algorithms.speed_limited",
    "clip_": "nfa.optim.algorithms.clip",
}
__all__ = [
    "OPTIMIZERS",
    "Muon",
    "OptimizerEntry",
    "OptimizerSettings",
    "SignDescent",
    "SpeedLimited",
    "clip_",
    "schedule_factor",
    "set_learning_rate",
]


def __getattr__(name: str) -> Any:
    """Import a public name the first time it is asked for."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'nfa.optim' has no attribute {name!r}")
