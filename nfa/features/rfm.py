"""The recursive feature machine: features learned without backpropagation, by a kernel machine's own AGOP.

Radhakrishnan, Beaglehole, Pandit & Belkin, arXiv 2212.13881, algorithm 1. From M = I, repeat: fit a Laplace kernel
machine with metric M, and take for M the average gradient outer product of its predictor f,

    grad f_c(x) = -(1/L) sum_j alpha_jc k(x, x_j) M (x - x_j) / |x - x_j|_M        (a term with x = x_j counts as 0)
    M <- (1/n) sum_i sum_c grad f_c(x_i) grad f_c(x_i)^T, scaled to tr M = d

The bandwidth L of each iteration, and the iteration that counts, are chosen by validation within the training samples.
Written here rather than taken from a package: the authors' (xrfm) is made for trees over tabular data and draws from
the global random state; this is the algorithm alone, deterministic and in float64.
"""

from dataclasses import dataclass

import numpy as np

from nfa.features.kernel import NAN, RIDGE, choose_bandwidth, kernel_machine, laplace, root, solve
from nfa.features.split import Split, fitted_rows


@dataclass(frozen=True)
class FeatureMachine:
    """A fitted recursive feature machine.

    Attributes:
        train: Accuracy or R^2 on the training samples.
        test: On the test samples.
        bandwidth: L of the iteration that counts.
        iteration: Which one counts; 0 is the metric I.
        metric: M of that iteration, (d, d), tr M = d; it comes from the samples fitted on, without those validated on.
    """

    train: float
    test: float
    bandwidth: float
    iteration: int
    metric: np.ndarray


def recursive_feature_machine(
    train: Split, test: Split, *, iterations: int = 3, ridge: float = RIDGE
) -> FeatureMachine:
    """Fit a recursive feature machine and score it on both splits.

    Args:
        train: Inputs (n, d) to fit on; the last fifth validates. Their order must be random.
        test: Inputs to score only.
        iterations: How often M is taken anew.
        ridge: Added to the kernel matrix's diagonal.
    """
    d = train.features.shape[1]
    metric = np.eye(d)
    if not (train.finite and test.finite):
        return FeatureMachine(NAN, NAN, NAN, 0, np.full((d, d), NAN))
    fitted = fitted_rows(len(train.features))
    best_score, best_metric, best_iteration = -np.inf, metric, 0
    for iteration in range(iterations + 1):
        within = metric_distances(train.features, metric)
        bandwidth, validated = choose_bandwidth(within, train, ridge)
        if validated > best_score:
            best_score, best_metric, best_iteration = validated, metric, iteration
        if iteration < iterations:
            part = within[:fitted, :fitted]
            _, coefficients = solve(laplace(part, bandwidth), train.targets[:fitted], ridge)
            metric = normalised(agop(train.features[:fitted], part, coefficients, bandwidth, metric))
    scores = kernel_machine(train, test, None if best_iteration == 0 else root(best_metric), ridge=ridge)
    return FeatureMachine(scores["train"], scores["test"], scores["bandwidth"], best_iteration, best_metric)


def agop(
    x: np.ndarray, distance: np.ndarray, coefficients: np.ndarray, bandwidth: float, metric: np.ndarray
) -> np.ndarray:
    """Average gradient outer product of the predictor over its own centres.

    Args:
        x: Centres, (n, d).
        distance: |x_i - x_j|_M, (n, n).
        coefficients: alpha, (n, C).
        bandwidth: L.
        metric: M, (d, d).

    Returns:
        (d, d): M [(1/n) sum_c H_c^T H_c] M, rows of H_c: sum_j q_ij alpha_jc (x_i - x_j), q = -k / (L |x_i - x_j|_M).
    """
    apart = distance > 0
    weights = np.where(apart, -laplace(distance, bandwidth) / (bandwidth * np.where(apart, distance, 1.0)), 0.0)
    total = np.zeros_like(metric)
    for alpha in coefficients.T:
        weighted = weights * alpha
        rows = weighted.sum(axis=1)[:, None] * x - weighted @ x
        total += rows.T @ rows
    found: np.ndarray = metric @ (total / len(x)) @ metric
    return found


def metric_distances(x: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """|x_i - x_j|_M between the rows of (n, d), exactly 0 on the diagonal; centred as in ``distances``."""
    centred = x - x.mean(axis=0)
    products = centred @ metric @ centred.T
    diagonal = np.diag(products)
    found: np.ndarray = np.sqrt(np.maximum(diagonal[:, None] + diagonal - products - products.T, 0))
    np.fill_diagonal(found, 0)
    return found


def normalised(matrix: np.ndarray) -> np.ndarray:
    """Scale a positive semi-definite matrix (d, d) to trace d; zero stays zero."""
    trace = np.trace(matrix)
    scaled: np.ndarray = matrix * (len(matrix) / trace) if trace > 0 else matrix
    return scaled
