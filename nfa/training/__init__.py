"""Training of one run of a cell, or of several runs together.

A run is a cell at a seed. ``materials`` makes its data and its network at initialisation, ``run`` advances it one
optimizer step at a time and saves or restores its state, ``evaluate`` scores it. ``together`` trains the seeds of a
small network as one: their weights are stacked along an additional axis 0, so that each step is one batched product for
all seeds, and the bits of a seed do not depend on the seeds that it is trained with. ``changing_speeds`` changes the
speeds of SLO during training. ``start`` computes the first gradients and the first optimizer step of a run, for the
limits at step 0.
"""

from nfa.training.materials import Materials, build_model, load_all, load_data
from nfa.training.run import TrainingRun

__all__ = ["Materials", "TrainingRun", "build_model", "load_all", "load_data"]
