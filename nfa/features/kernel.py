"""Kernel machines on learned features: does a layer's learned metric carry what the layer has learned?

    k(x, z) = exp(-|x - z|_A / bandwidth),  |x|_A^2 = x^T A x        (Radhakrishnan et al., arXiv 2212.13881)

with A the identity, the NFM W^T W, or the AGOP W^T K W of a layer; ridge regression in its space, with an intercept
(the mean target). A is never formed: A = B^T B with B = M^1/2 W (k, d), so that |x - z|_A = |Bx - Bz|. It is
trace-normalised, tr A = d = tr I, so that bandwidths can be compared. The bandwidth is chosen by validation within the
training samples, among multiples of their median distance: scaling A changes no score.

    factor = metric_factor(weight, covariance)                       # B of the AGOP; of the NFM without covariance
    kernel_machine(Split(x, y, labels), Split(...), factor)          # {"train": .97, "test": .84, "bandwidth": 9.3}
"""

from typing import TypedDict

import numpy as np
from scipy import linalg

from nfa.features.split import Split, best, fitted_rows, score

RIDGE = 1e-3  # added to the kernel's diagonal, which is 1: the default of public recursive feature machines
MULTIPLES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # bandwidths, in median distances
NAN = float("nan")


class KernelScores(TypedDict):
    """Accuracy or R^2 on both splits, and the bandwidth that validation chose; all NaN where inputs overflow."""

    train: float
    test: float
    bandwidth: float


def metric_factor(weight: np.ndarray, covariance: np.ndarray | None = None) -> np.ndarray:
    """Factor the trace-normalised metric of a layer: B^T B = d A / tr A.

    Args:
        weight: W, (k, d).
        covariance: K, (k, k), for the AGOP A = W^T K W; None for the NFM A = W^T W.

    Returns:
        B, (k, d); zero where A is.
    """
    factor = weight if covariance is None else root(covariance) @ weight
    trace = np.square(factor).sum()
    return factor * np.sqrt(weight.shape[1] / trace) if trace > 0 else factor


def root(matrix: np.ndarray) -> np.ndarray:
    """Symmetric square root of a positive semi-definite matrix; eigenvalues below 0 are rounding."""
    values, vectors = linalg.eigh(matrix)
    found: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return found


def kernel_machine(
    train: Split, test: Split, factor: np.ndarray | None = None, *, ridge: float = RIDGE
) -> KernelScores:
    """Fit a Laplace kernel machine and score it on both splits.

    Args:
        train: Inputs (n, d) to fit on; the last fifth chooses the bandwidth. Their order must be random.
        test: Inputs to score only.
        factor: B, (m, d), of the metric A = B^T B; None for the identity, or where inputs are mapped already.
        ridge: Added to the kernel matrix's diagonal.
    """
    if factor is not None:
        train, test = (part.of(part.features @ factor.T) for part in (train, test))
    if not (train.finite and test.finite):
        return {"train": NAN, "test": NAN, "bandwidth": NAN}
    within = distances(train.features, train.features)
    bandwidth, _ = choose_bandwidth(within, train, ridge)
    kernel = laplace(within, bandwidth)
    mean, coefficients = solve(kernel, train.targets, ridge)
    across = laplace(distances(test.features, train.features), bandwidth)
    return {
        "train": score(kernel @ coefficients + mean, train),
        "test": score(across @ coefficients + mean, test),
        "bandwidth": bandwidth,
    }


def choose_bandwidth(within: np.ndarray, train: Split, ridge: float) -> tuple[float, float]:
    """Fit on the first four fifths, validate on the rest: the best bandwidth and its score.

    Args:
        within: (n, n) distances between training samples.
        train: The samples.
        ridge: Added to the kernel matrix's diagonal.
    """
    fitted = fitted_rows(len(within))
    median = float(np.median(within[:fitted, :fitted])) or 1.0
    scores = []
    for multiple in MULTIPLES:
        kernel = laplace(within[:, :fitted], multiple * median)
        mean, coefficients = solve(kernel[:fitted], train.targets[:fitted], ridge)
        scores.append(score(kernel[fitted:] @ coefficients + mean, train.rows(slice(fitted, None))))
    chosen = best(scores)
    return MULTIPLES[chosen] * median, scores[chosen]


def laplace(distance: np.ndarray, bandwidth: float) -> np.ndarray:
    """Laplace kernel of distances."""
    kernel: np.ndarray = np.exp(distance / -bandwidth)
    return kernel


def solve(kernel: np.ndarray, targets: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve (K + ridge I) alpha = Y - mean: the mean (C,) and alpha (n, C)."""
    mean = targets.mean(axis=0)
    regularised = kernel + ridge * np.eye(len(kernel))
    return mean, linalg.cho_solve(linalg.cho_factor(regularised, overwrite_a=True), targets - mean)


def distances(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Euclidean distances between the rows of (n, d) and (m, d); exactly 0 between a set and itself.

    Both are centred first: squares of the distances are differences of squares.
    """
    centre = z.mean(axis=0)
    a, b = x - centre, z - centre
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * (a @ b.T)
    found: np.ndarray = np.sqrt(np.maximum(squared, 0, out=squared), out=squared)
    if x is z:
        np.fill_diagonal(found, 0)
    return found
