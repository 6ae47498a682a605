"""Mean and trace of words such as M A_1 M A_2 ... in a random matrix M and fixed matrices A_i that are free from it.

tau is the normalised trace tr / d. If M with free cumulants kappa_1, kappa_2, ... is free from A_1, ..., A_m (Nica &
Speicher, *Lectures on the Combinatorics of Free Probability*, theorem 14.4),

    tau(M A_1 M A_2 ... M A_m) = sum over pi in NC(m) of kappa_pi tau_K(pi)(A_1, ..., A_m)

kappa_pi is the product of kappa_|V| over the blocks V of pi, and tau_K(pi) the product of tau(A_i A_j ...) over the
blocks {i < j < ...} of the Kreweras complement. If A_m is left out of the trace of its block, the mean itself results,
as a matrix:

    E[M A_1 M ... A_{m-1} M]    with    tau(M A_1 ... M A_m) = tau(E[M A_1 ... M] A_m)

For M = sum_j a_j^2 w_j w_j^T this holds as d, k -> infinity at fixed k / d, where M has a free compound Poisson law.
An example is the fourth moment of a semicircle law, the Catalan number of 2:

    >>> semicircle = (0.0, 1.0, 0.0, 0.0)
    >>> word_trace(semicircle, [np.eye(3)] * 4)
    2.0
"""

from collections.abc import Sequence
from functools import reduce
from math import prod

import numpy as np

from nfa.theory.noncrossing import kreweras_complement, noncrossing_partitions


def compound_poisson_cumulants(rate: float, jump_moments: Sequence[float]) -> tuple[float, ...]:
    """Compute the free cumulants kappa_m = rate * E[jump^m] of a free compound Poisson law.

    ``sum_j a_j^2 w_j w_j^T`` with k vectors w_j ~ N(0, sigma^2 / d I_d) has rate k / d and jumps sigma^2 a_j^2.

    Args:
        rate: Rate of the jumps, above 0.
        jump_moments: E[jump], E[jump^2], ...
    """
    return tuple(rate * moment for moment in jump_moments)


def word_mean(cumulants: Sequence[float], between: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the mean of M A_1 M A_2 ... A_{m-1} M.

    Args:
        cumulants: kappa_1, ..., kappa_m of M; further ones are not used.
        between: A_1, ..., A_{m-1} with m >= 2, (d, d) float64 each; they need not be symmetric.

    Returns:
        (d, d) float64.
    """
    last = len(between)
    d = len(between[0])
    identity = np.eye(d)
    total = np.zeros((d, d))
    for partition in noncrossing_partitions(last + 1):
        weight = prod(cumulants[len(block) - 1] for block in partition)
        if weight == 0:
            continue
        for block in kreweras_complement(partition):
            factor = reduce(np.matmul, [between[i] for i in block if i != last], identity)
            if last in block:
                outside = factor
            else:
                weight *= np.trace(factor) / d
        total += weight * outside
    return total


def word_trace(cumulants: Sequence[float], matrices: Sequence[np.ndarray]) -> float:
    """Compute tau(M A_1 M A_2 ... M A_m).

    Args:
        cumulants: kappa_1, ..., kappa_m of M; further ones are not used.
        matrices: A_1, ..., A_m, (d, d) float64 each.
    """
    *between, last = matrices
    if not between:
        return float(cumulants[0] * np.trace(last) / len(last))
    return float(np.trace(word_mean(cumulants, between) @ last) / len(last))
