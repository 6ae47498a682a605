"""The optimizer axis. To add one: write one file with its settings and ``build``, and name it here.

What trains is imported on first use, so that planning a sweep never waits for torch.
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
