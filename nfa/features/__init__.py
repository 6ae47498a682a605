"""How good are a network's features? Probes, kernel machines with learned metrics, recovery of known directions.

    from nfa.features import SamplesWithTargets, linear_rows, metric_rows

    train, test = SamplesWithTargets(x, y, labels), SamplesWithTargets(x_test, y_test, labels_test)
    rows = linear_rows(model, train, test, ["0", "2", "4"]) + metric_rows(model, train.first(1000), test, ["0"])

How it is laid out: ``samples`` checks what is given, ``capture`` takes features from one forward pass, ``ridge`` solves
for all penalties at once, ``probe`` scores them, ``kernel`` and ``rfm`` are kernel machines, ``recovery`` and
``geometry`` need no fit, and ``quality`` makes rows of all of it. ``docs/features.md`` has every formula and its
source.
"""

from nfa.features.capture import layer_features, layer_passes
from nfa.features.geometry import kernel_alignment, scatter_ratio
from nfa.features.kernel import kernel_machine, metric_factor
from nfa.features.probe import linear_probe, target_linearity
from nfa.features.quality import input_rows, linear_rows, metric_rows, recovery_rows
from nfa.features.recovery import metric_correlation, recovery
from nfa.features.rfm import FeatureMachine, recursive_feature_machine
from nfa.features.ridge import RidgePath
from nfa.features.samples import SamplesWithTargets
from nfa.features.split import Split

__all__ = [
    "FeatureMachine",
    "RidgePath",
    "SamplesWithTargets",
    "Split",
    "input_rows",
    "kernel_alignment",
    "kernel_machine",
    "layer_features",
    "layer_passes",
    "linear_probe",
    "linear_rows",
    "metric_correlation",
    "metric_factor",
    "metric_rows",
    "recovery",
    "recovery_rows",
    "recursive_feature_machine",
    "scatter_ratio",
    "target_linearity",
]
