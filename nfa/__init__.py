"""Measure the neural feature ansatz: do a network's weights align with its average gradient outer product (AGOP)?

``nfa.alignment`` measures any PyTorch network; the ``nfa`` command and the Snakemake workflow sweep over many.
Names are imported on first use, so that planning a sweep never waits for torch.
"""

from importlib import import_module
from typing import Any

__version__: str
_ALIGNMENT = ("Monitor", "Wrapped", "check", "covariances", "left_out", "matrices", "measure")
_LAZY = {  # public name -> its module, and its name there
    **{name: ("nfa.alignment", name) for name in _ALIGNMENT},
    "SpeedLimited": ("nfa.optim.algorithms.speed_limited", "SpeedLimited"),
    "load_sweep": ("nfa.sweep.grid", "load"),
    "quantities": ("nfa.alignment.quantities.catalogue", "quantities"),
}
__all__ = [
    "Monitor",
    "SpeedLimited",
    "Wrapped",
    "__version__",
    "check",
    "covariances",
    "left_out",
    "load_sweep",
    "matrices",
    "measure",
    "quantities",
]


def __getattr__(name: str) -> Any:
    """Import a public name the first time it is asked for."""
    if name == "__version__":  # looked up late: this takes 20 ms, half of the time in which `nfa` hands over a job
        return _version()
    if name in _LAZY:
        module, name_there = _LAZY[name]
        return getattr(import_module(module), name_there)
    raise AttributeError(f"module 'nfa' has no attribute {name!r}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nfa")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
