"""Quadratic networks at the start of training: C-NFC(0+) of the first layer from the data and the width.

The network is f(x) = sum_j a_j (w_j . x)^2 with k units, w_j ~ N(0, sigma^2 / d I_d). Its first layer W (k, d) is
trained by gradient flow on half the mean squared error. f is small at the start, so the residual is -y. With

    R = (1/n) sum_i y_i x_i x_i^T       S = X^T X / n       M = W^T diag(a^2) W

the gradient at initialisation is Wdot = 2 diag(a) W R and K0 = 4 diag(a) W S W^T diag(a), hence [derived]

    Wdot^T Wdot = 4 R M R       Wdot^T K0 Wdot = 16 R M S M R       C-NFC(0+) = their correlation

At infinite width M is a multiple of the identity, and C-NFC(0+) = rho(R^2, R S R), which is 1 if S = I.

At finite width M is free from (R, S) and has the free compound Poisson law of rate k / d and jumps sigma^2 a^2. The
three sums of a cosine are therefore traces of words [derived]

    <A, A> = 16 tr(M R^2 M R^2)     <A, B> = 64 tr(M R^2 M S M R^2)     <B, B> = 256 tr(M S M R^2 M S M R^2)

and the sums of entries, which pearson needs, are 4 r^T E[M] r and 16 r^T E[M S M] r with r = R 1. The means are of
leading order: corrections are of relative order 1 / k times the moments of a, and larger if R has few directions.

All numbers are float64. R and S are taken over samples, or over the population by ``chain_population`` and
``reversing_population``.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.correlation import Moments, Sums
from nfa.alignment.quantities.values import Value, undefined
from nfa.theory.free_probability import compound_poisson_cumulants, word_mean

GAUSSIAN = (1.0, 3.0, 15.0, 105.0)  # E[a^2], E[a^4], E[a^6], E[a^8] of a ~ N(0, 1)
OFF_DIAGONAL = reason("free probability gives no sums over diagonals: no off-diagonal correlation at finite width")


def data_matrices(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute R and S of samples.

    Args:
        x: (n, d) inputs.
        y: (n,) or (n, 1) targets.

    Returns:
        R = (1/n) sum y x x^T and S = X^T X / n, (d, d) float64 each.
    """
    x = x.astype(np.float64)
    weighted = x * y.astype(np.float64).reshape(-1, 1)
    return weighted.T @ x / len(x), x.T @ x / len(x)


def chain_population(variances: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute R and S of x ~ N(0, diag v) and the chain monomial y = sum_{i<r} x_i x_{(i+1) mod r} / sqrt(r) [derived].

    Args:
        variances: v, (d,).
        rank: r, above 2; at 2 the chain would have a single product, counted twice.
    """
    target = np.zeros((len(variances), len(variances)))
    for i in range(rank):
        j = (i + 1) % rank
        target[i, j] = target[j, i] = variances[i] * variances[j] / np.sqrt(rank)
    return target, np.diag(variances)


def reversing_population(variances: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute R and S of the alignment-reversing mixture [derived].

    Args:
        variances: (2, d), of the component with target 1 and of the component with target 0.
        gamma: Share of the second component.
    """
    first, second = variances
    return np.diag((1 - gamma) * first), np.diag((1 - gamma) * first + gamma * second)


def infinite_width(target: np.ndarray, covariance: np.ndarray) -> dict[str, Value]:
    """Compute C-NFC(0+) at infinite width, rho(R^2, R S R).

    Args:
        target: R, (d, d).
        covariance: S, (d, d).

    Returns:
        Correlation name -> value, for all three.
    """
    return _correlations(target @ target, target @ covariance @ target)


def network_value(
    target: np.ndarray, covariance: np.ndarray, weights: np.ndarray, readout: np.ndarray
) -> dict[str, Value]:
    """Compute C-NFC(0+) of one network from its matrices.

    Args:
        target: R, (d, d).
        covariance: S, (d, d).
        weights: W, (k, d).
        readout: a, (k,).

    Returns:
        Correlation name -> value, for all three.
    """
    half = (readout[:, None] * weights) @ target  # Wdot / 2; then Wdot^T K0 Wdot = 16 (half^T aW) S (aW^T half)
    across = half.T @ (readout[:, None] * weights)
    return _correlations(4 * half.T @ half, 16 * across @ covariance @ across.T)


def finite_width(
    target: np.ndarray, covariance: np.ndarray, width: int, readout_moments: Sequence[float] = GAUSSIAN
) -> dict[str, Value]:
    """Predict C-NFC(0+) at a finite width by free probability.

    The scales of W and a cancel, so only the shape of the law of a matters.

    Args:
        target: R, (d, d).
        covariance: S, (d, d).
        width: k.
        readout_moments: E[a^2], E[a^4], E[a^6] and E[a^8]; ``moments_of`` gives those of one readout.

    Returns:
        Correlation name -> value; "offdiagonal" is NaN with a reason.
    """
    d = len(target)
    cumulants = compound_poisson_cumulants(width / d, readout_moments)
    square = target @ target
    inner = word_mean(cumulants, [covariance])  # E[M S M]
    sums = target.sum(1)
    moments = Moments(
        Sums(
            count=d * d,
            a=4 * cumulants[0] * float(sums @ sums),
            b=16 * float(sums @ inner @ sums),
            aa=16 * _trace(word_mean(cumulants, [square]), square),
            bb=256 * _trace(word_mean(cumulants, [covariance, square, covariance]), square),
            ab=64 * _trace(word_mean(cumulants, [square, covariance]), square),
        ),
        None,
    )
    return moments.correlations(("cosine", "pearson")) | {"offdiagonal": undefined(OFF_DIAGONAL)}


def moments_of(readout: np.ndarray) -> tuple[float, ...]:
    """Compute the means over units of a^2, a^4, a^6 and a^8 of a readout a (k,), for ``finite_width``."""
    return tuple(float(np.mean(readout ** (2 * m))) for m in range(1, 5))


def _trace(mean: np.ndarray, matrix: np.ndarray) -> float:
    """Compute the trace of the product of two (d, d) matrices, the second of them symmetric."""
    return float((mean * matrix).sum())


def _correlations(a: np.ndarray, b: np.ndarray) -> dict[str, Value]:
    """Correlate two symmetric (d, d) matrices in all three ways."""
    every = _sums(a, b)
    return dict(Moments(every, _sums(np.diag(a), np.diag(b))).correlations())


def _sums(a: np.ndarray, b: np.ndarray) -> Sums:
    values: Mapping[str, np.ndarray] = {"a": a, "b": b, "aa": a * a, "bb": b * b, "ab": a * b}
    return Sums(a.size, **{name: float(entries.sum()) for name, entries in values.items()})
