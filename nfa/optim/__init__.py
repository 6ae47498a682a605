"""The optimizer axis. To add one: write one file with its settings and ``build``, and name it here."""

from nfa.optim import adam, sgd, slo
from nfa.optim.entry import OptimizerEntry, OptimizerSettings

OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": sgd.ENTRY,
    "adam": adam.ENTRY,
    "slo": slo.ENTRY,
}

__all__ = ["OPTIMIZERS", "OptimizerEntry", "OptimizerSettings"]
