"""Score the features of a network: probes, kernel machines with learned metrics, recovery of known directions.

The features of a layer are the values that enter the next layer. ``quality`` makes the rows of the probe table from
scores that need a fit (``probe``, ``kernel``, ``rfm``) and from scores that need none (``geometry``, ``recovery``).
``capture`` takes the features of all layers from one forward pass, ``ridge`` solves ridge regression for all penalties
at once, ``samples`` checks the data, and ``split`` says which samples are held out for choosing a penalty.

To add a score, compute it in ``quality`` and describe it in ``scores``, the registry that tables, figures and the page
read. ``docs/features.md`` has every formula and its source. Functions that need torch are imported on first use,
because a report reads ``scores`` without torch.

    >>> import torch
    >>> from nfa.features import SamplesWithTargets, linear_rows
    >>> x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    >>> train, test = SamplesWithTargets(x[:40], x[:40, :1]), SamplesWithTargets(x[40:], x[40:, :1])
    >>> rows = linear_rows(torch.nn.Linear(4, 1), train, test, [""])
    >>> [row.probe for row in rows if row.split == "test"]
    ['ridge', 'linearity', 'geometry', 'geometry']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nfa.features.geometry import kernel_alignment, scatter_ratio
from nfa.features.kernel import kernel_machine, metric_factor
from nfa.features.probe import linear_probe, target_linearity
from nfa.features.recovery import metric_correlation, recovery
from nfa.features.rfm import FeatureMachine, recursive_feature_machine
from nfa.features.ridge import RidgePath
from nfa.features.split import Split

if TYPE_CHECKING:
    from nfa.features.capture import layer_features, layer_passes
    from nfa.features.quality import input_rows, linear_rows, metric_rows, recovery_rows
    from nfa.features.samples import SamplesWithTargets

_LAZY = {  # public name -> module of this package that needs torch
    "SamplesWithTargets": "samples",
    **dict.fromkeys(("layer_features", "layer_passes"), "capture"),
    **dict.fromkeys(("input_rows", "linear_rows", "metric_rows", "recovery_rows"), "quality"),
}
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


def __getattr__(name: str) -> Any:
    """Import a public name the first time it is asked for."""
    if name in _LAZY:
        return getattr(import_module(f"nfa.features.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'nfa.features' has no attribute {name!r}")
