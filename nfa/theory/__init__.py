"""What is predicted at initialisation. Matrices and networks in, numbers and frames out; imported on first use.

from nfa.theory import data_matrices, finite_width
R, S = data_matrices(x, y)              # x (n, d), y (n,)
finite_width(R, S, width=1024)["cosine"].value
"""

from importlib import import_module
from typing import Any

_LAZY = {
    "GradientFlow": "nfa.theory.gradient_flow",
    "LayerRates": "nfa.theory.early",
    "chain_population": "nfa.theory.quadratic",
    "compound_poisson_cumulants": "nfa.theory.free_probability",
    "data_matrices": "nfa.theory.quadratic",
    "departure": "nfa.theory.early",
    "early_dynamics": "nfa.theory.early",
    "finite_width": "nfa.theory.quadratic",
    "infinite_width": "nfa.theory.quadratic",
    "kreweras_complement": "nfa.theory.noncrossing",
    "layer_rates": "nfa.theory.early",
    "measured_dynamics": "nfa.theory.early",
    "network_value": "nfa.theory.quadratic",
    "noncrossing_partitions": "nfa.theory.noncrossing",
    "quadratic_draws": "nfa.theory.quadratic_tables",
    "reversing_population": "nfa.theory.quadratic",
    "word_mean": "nfa.theory.free_probability",
    "word_trace": "nfa.theory.free_probability",
}
__all__ = list(_LAZY)


def __getattr__(name: str) -> Any:
    """Import a public name the first time it is asked for."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'nfa.theory' has no attribute {name!r}")
