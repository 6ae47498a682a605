"""The recursive feature machine: a kernel machine that learns its metric from its own AGOP, without backpropagation.

Radhakrishnan, Beaglehole, Pandit & Belkin, arXiv 2212.13881, algorithm 1. Starting from M = I, repeat: fit a Laplace
kernel machine with metric M, and replace M by the average gradient outer product of its predictor f,

    grad f_c(x) = -(1/L) sum_j alpha_jc k(x, x_j) M (x - x_j) / |x - x_j|_M        (a term with x = x_j counts as 0)
    M <- (1/n) sum_i sum_c grad f_c(x_i) grad f_c(x_i)^T, scaled to tr M = d

The bandwidth L and the ridge of each iteration, and the best iteration, are chosen by validation within the training
samples. M is kept as a factor B, M = B^T B with at most min(n, d) rows [derived]: with Z = X B^T and rows
(D_c Z)_i = sum_j q_ij alpha_jc (z_i - z_j), q = -k / (L |x_i - x_j|_M), the next M is
B^T [(1/n) sum_c (D_c Z)^T D_c Z] B.

The authors' package xrfm is made for trees over tabular data and draws from the global random state. This file has the
algorithm alone, deterministic and in float64.
"""

from dataclasses import dataclass

import numpy as np

from nfa.features.kernel import NAN, choose, distances, kernel_machine, laplace, root, solve
from nfa.features.split import Split, fitted_rows


@dataclass(frozen=True)
class FeatureMachine:
    """A fitted recursive feature machine.

    Attributes:
        train: Accuracy or R^2 on the training samples.
        test: On the test samples.
        bandwidth: L of the chosen iteration.
        ridge: Number added to the kernel's diagonal in the chosen iteration.
        iteration: Number of the chosen iteration; 0 is the metric I.
        factor: B of the chosen iteration, M = B^T B, (m, d) with tr M = d, computed from the samples fitted on, without
            those validated on; None for the metric I.
    """

    train: float
    test: float
    bandwidth: float
    ridge: float
    iteration: int
    factor: np.ndarray | None


def recursive_feature_machine(train: Split, test: Split, *, iterations: int = 3) -> FeatureMachine:
    """Fit a recursive feature machine and score it on both splits.

    Args:
        train: Inputs (n, d) to fit on; the last fifth validates. Their order must be random.
        test: Inputs to score only.
        iterations: Number of times that M is replaced.
    """
    if not (train.finite and test.finite):
        return FeatureMachine(NAN, NAN, NAN, NAN, 0, None)
    x = train.features - train.features.mean(axis=0)  # only differences of inputs matter
    fitted = fitted_rows(len(x))
    factor: np.ndarray | None = None
    best_score, best_factor, best_iteration = -np.inf, factor, 0
    for iteration in range(iterations + 1):
        z = x if factor is None else x @ factor.T
        within = distances(z, z)
        bandwidth, ridge, validated = choose(within, train)
        if validated > best_score:
            best_score, best_factor, best_iteration = validated, factor, iteration
        if iteration < iterations:
            part = within[:fitted, :fitted]
            _, coefficients = solve(laplace(part, bandwidth), train.targets[:fitted], ridge)
            factor = next_factor(x[:fitted], part, coefficients, bandwidth, factor)
    return FeatureMachine(*kernel_machine(train, test, best_factor), best_iteration, best_factor)


def next_factor(
    x: np.ndarray, distance: np.ndarray, coefficients: np.ndarray, bandwidth: float, factor: np.ndarray | None
) -> np.ndarray:
    """Compute a factor of the average gradient outer product of the predictor at its centres, scaled to trace d.

    Args:
        x: Centres, (n, d).
        distance: |x_i - x_j|_M, (n, n).
        coefficients: alpha, (n, C).
        bandwidth: L.
        factor: B of M, (m, d); None for M = I.

    Returns:
        The next B, (m, d); m = min(n, d) if the metric was I.
    """
    n, d = x.shape
    if factor is not None:
        z = x @ factor.T
    else:  # the factor B = I, or X with Z = I if it has fewer rows
        z, factor = (x, np.eye(d)) if d <= n else (np.eye(n), x)
    apart = distance > 0
    weights = np.where(apart, -laplace(distance, bandwidth) / (bandwidth * np.where(apart, distance, 1.0)), 0.0)
    inner = np.zeros((z.shape[1], z.shape[1]))
    for alpha in coefficients.T:
        weighted = weights * alpha
        rows = weighted.sum(axis=1)[:, None] * z - weighted @ z
        inner += rows.T @ rows
    found: np.ndarray = root(inner) @ factor
    size = np.linalg.norm(found)
    return found * (np.sqrt(d) / size) if size > 0 else found
