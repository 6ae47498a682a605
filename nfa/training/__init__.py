"""Training one run of a cell: data, network and optimizer from the cell and a seed, then step by step."""

from nfa.training.materials import Materials, build_model, load_all, load_data
from nfa.training.run import TrainingRun

__all__ = ["Materials", "TrainingRun", "build_model", "load_all", "load_data"]
