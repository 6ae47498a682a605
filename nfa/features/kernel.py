"""Kernel machines whose metric is that of a layer: they show how much of the learned features the metric carries.

    k(x, z) = exp(-|x - z|_A / bandwidth),  |x|_A^2 = x^T A x        (Radhakrishnan et al., arXiv 2212.13881)

A is the identity, the NFM W^T W, or the AGOP W^T K W of a layer. The machine is ridge regression with this kernel and
an intercept, which is the mean target. A is never formed: A = B^T B with B = M^1/2 W (k, d), M = I or K, and
|x - z|_A = |Bx - Bz|. A is scaled to tr A = d = tr I, so that bandwidths of several metrics can be compared. Bandwidth
and ridge are chosen by validation within the training samples, the bandwidth among multiples of the median distance, so
scaling A changes no score.

    factor = metric_factor(weight, covariance)                 # B of the AGOP, or of the NFM without a covariance
    scores = kernel_machine(train, test, factor)               # train, test: Split; scores.test, scores.bandwidth
"""

from typing import NamedTuple

import numpy as np
from scipy import linalg

from nfa.features.ridge import solve_regularised
from nfa.features.split import Split, best, fitted_rows, merit, score

RIDGES = (1e-3, 1e-2, 1e-1)  # added to the kernel's diagonal of ones; 1e-3 is the default of public code (xrfm)
MULTIPLES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # bandwidths, in median distances
COLUMNS = 4096  # columns of float32 inputs that are converted to float64 at a time
NAN = float("nan")


class KernelScores(NamedTuple):
    """Accuracy or R^2 on both splits, and the chosen bandwidth and ridge; all NaN if inputs are not finite."""

    train: float
    test: float
    bandwidth: float
    ridge: float


class Choice(NamedTuple):
    """The bandwidth and the ridge that validation chose, and their score on the validation samples."""

    bandwidth: float
    ridge: float
    score: float


def metric_factor(weight: np.ndarray, covariance: np.ndarray | None = None) -> np.ndarray:
    """Factor the trace-normalised metric of a layer: B^T B = d A / tr A.

    Args:
        weight: W, (k, d).
        covariance: K, (k, k), for the AGOP A = W^T K W; None for the NFM A = W^T W.

    Returns:
        B, (k, d); zero if A is zero.
    """
    factor = weight if covariance is None else root(covariance) @ weight
    trace = np.square(factor).sum()
    return factor * np.sqrt(weight.shape[1] / trace) if trace > 0 else factor


def root(matrix: np.ndarray) -> np.ndarray:
    """Compute the symmetric square root of a positive semi-definite matrix; eigenvalues below 0 are rounding."""
    values, vectors = linalg.eigh(matrix)
    found: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return found


def kernel_machine(train: Split, test: Split, factor: np.ndarray | None = None) -> KernelScores:
    """Fit a Laplace kernel machine and score it on both splits.

    Args:
        train: Inputs (n, d) to fit on; the last fifth chooses bandwidth and ridge. Their order must be random.
        test: Inputs to score only.
        factor: B, (m, d), of the metric A = B^T B; None for the identity.
    """
    if factor is not None:
        train, test = (part.of(part.features @ factor.T) for part in (train, test))
    x = train.features
    return machine_of_distances(distances(x, x), distances(test.features, x), train, test)


def machine_of_distances(within: np.ndarray, across: np.ndarray, train: Split, test: Split) -> KernelScores:
    """Fit and score a Laplace kernel machine from distances; the features of the splits are not used.

    Args:
        within: (n, n) between training samples.
        across: (n_test, n) from test samples to training samples.
        train: The samples to fit on.
        test: The samples to score only.
    """
    if not (np.isfinite(within).all() and np.isfinite(across).all()):
        return KernelScores(NAN, NAN, NAN, NAN)
    bandwidth, ridge, _ = choose(within, train)
    kernel = laplace(within, bandwidth)
    mean, coefficients = solve(kernel, train.targets, ridge)
    on_train, on_test = kernel @ coefficients + mean, laplace(across, bandwidth) @ coefficients + mean
    return KernelScores(score(on_train, train), score(on_test, test), bandwidth, ridge)


def choose(within: np.ndarray, train: Split) -> Choice:
    """Choose the bandwidth and ridge that, fitted on the first four fifths of the samples, predict the rest best.

    Args:
        within: (n, n) distances between training samples.
        train: The samples.
    """
    fitted = fitted_rows(len(within))
    median = float(np.median(within[:fitted, :fitted])) or 1.0
    validation = train.rows(slice(fitted, None))
    candidates, scores = [(multiple * median, ridge) for multiple in MULTIPLES for ridge in RIDGES], []
    for multiple in MULTIPLES:
        kernel = laplace(within[:, :fitted], multiple * median)
        for ridge in RIDGES:
            mean, coefficients = solve(kernel[:fitted], train.targets[:fitted], ridge)
            scores.append(merit(kernel[fitted:] @ coefficients + mean, validation))
    chosen = best(scores)
    return Choice(*candidates[chosen], scores[chosen])


def laplace(distance: np.ndarray, bandwidth: float) -> np.ndarray:
    """Compute the Laplace kernel exp(-distance / bandwidth)."""
    kernel: np.ndarray = np.exp(distance / -bandwidth)
    return kernel


def solve(kernel: np.ndarray, targets: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve (K + ridge I) alpha = Y - mean, and return the mean (C,) and alpha (n, C)."""
    mean = targets.mean(axis=0)
    return mean, solve_regularised(kernel, ridge, targets - mean)


def distances(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Compute Euclidean distances between the rows of (n, d) and (m, d); a row's distance to itself is exactly 0.

    A squared distance is computed as a difference of squares, so both arrays are centred first to lose fewer digits.
    Some columns at a time are converted to float64.
    """
    squared = np.zeros((len(x), len(z)))
    for start in range(0, x.shape[1], COLUMNS):
        b = z[:, start : start + COLUMNS].astype(np.float64)
        centre = b.mean(axis=0)
        b -= centre
        a = b if x is z else x[:, start : start + COLUMNS] - centre  # A A^T costs half of A B^T
        squared += np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * (a @ b.T)
    found: np.ndarray = np.sqrt(np.maximum(squared, 0, out=squared), out=squared)
    if x is z:
        np.fill_diagonal(found, 0)
    return found
