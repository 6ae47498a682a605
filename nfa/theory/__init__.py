"""What is predicted of a network's alignment before it is trained: tensors in, tables out.

limit             C-NFC(0+) of any network, loss and optimizer, from its gradient and K at initialisation
data_space        the same from inputs, residuals and the tangent kernel's Gram matrix
early             the centred matrices' norms and correlation over the time after that, to next-to-leading order
quadratic         C-NFC(0+) of quadratic networks, of infinite width and, by free probability, of finite width
free_probability  words in a random matrix and fixed ones, by non-crossing partitions
depth_law         the power of the AGOP that fits each layer's NFM best, beside 1/(L - l + 1)
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
