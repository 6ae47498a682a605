"""Predictions of a network's alignment before training: tensors in, tables out.

C-NFC(0+) is the centred correlation in the limit of short training times, when W - W0 is small.

limit             C-NFC(0+) of any network, loss and optimizer, from the gradient and K at initialisation
data_space        the same number from inputs, residuals and the Gram matrix of the tangent features
early             norms and correlation of the centred matrices at early times, to next-to-leading order in time
gradient_flow     gradient flow of a whole network in float64, which ``early`` needs
quadratic         C-NFC(0+) of quadratic networks: at infinite width, and at finite width by free probability
quadratic_tables  the predictions of ``quadratic`` beside measured values
free_probability  mean and trace of words in a random matrix and fixed matrices
noncrossing       non-crossing partitions, which ``free_probability`` sums over
depth_law         the power of the AGOP that fits each layer's NFM best, beside the law 1/(L - l + 1)

To add a prediction, write a file of its own; the stages of a sweep call it in ``nfa.stages.predict``.
"""

from nfa.theory.depth_law import depth_law, law
from nfa.theory.early import early_dynamics, layer_rates, measured_dynamics
from nfa.theory.free_probability import compound_poisson_cumulants, word_mean, word_trace
from nfa.theory.limit import limit
from nfa.theory.noncrossing import kreweras_complement, noncrossing_partitions
from nfa.theory.quadratic import (
    chain_population,
    data_matrices,
    finite_width,
    infinite_width,
    network_value,
    reversing_population,
)
from nfa.theory.quadratic_tables import quadratic_draws

__all__ = [
    "chain_population",
    "compound_poisson_cumulants",
    "data_matrices",
    "depth_law",
    "early_dynamics",
    "finite_width",
    "infinite_width",
    "kreweras_complement",
    "law",
    "layer_rates",
    "limit",
    "measured_dynamics",
    "network_value",
    "noncrossing_partitions",
    "quadratic_draws",
    "reversing_population",
    "word_mean",
    "word_trace",
]
