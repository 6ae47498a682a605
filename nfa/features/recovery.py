"""Have the relevant directions been found, where they are known? In k-space: A = B^T B, B = M^1/2 W (k, d).

The target depends on x through U^T x alone, U (d, r) with orthonormal columns; the target's own average gradient outer
product is U T U^T. In a random state the trace share is about r / d.
"""

import numpy as np

from nfa.features.geometry import gram
from nfa.features.kernel import root

NAN = float("nan")


def recovery(factor: np.ndarray, directions: np.ndarray, target_agop: np.ndarray | None = None) -> dict[str, float]:
    """Compare a first layer's metric A = B^T B with the truth.

    Args:
        factor: B, (m, d): W for the NFM, K^1/2 W for the AGOP (``metric_factor`` gives both, scaled).
        directions: U, (d, r) with orthonormal columns.
        target_agop: T, (r, r), the target's AGOP in the basis of the directions; None where it is not known.

    Returns:
        ``trace_share``: tr(U^T A U) / tr A. ``overlap``: |V^T U|_F^2 / r for the r leading eigenvectors V of A.
        ``target_correlation``: cosine of A and U T U^T, with a target AGOP. NaN where A is zero, or of rank below r.
    """
    squared = np.square(factor).sum()
    if not np.isfinite(squared) or squared == 0:
        found = {"trace_share": NAN, "overlap": NAN}
        return found if target_agop is None else found | {"target_correlation": NAN}
    factor = factor / np.sqrt(squared)
    found = {
        "trace_share": float(np.square(factor @ directions).sum()),
        "overlap": _overlap(factor, directions),
    }
    if target_agop is not None:
        found["target_correlation"] = metric_correlation(factor, root(target_agop) @ directions.T)
    return found


def _overlap(factor: np.ndarray, directions: np.ndarray) -> float:
    rank = directions.shape[1]
    _, values, vectors = np.linalg.svd(factor, full_matrices=False)
    if len(values) < rank or values[rank - 1] <= max(factor.shape) * np.finfo(float).eps * values[0]:
        return NAN
    return float(np.square(vectors[:rank] @ directions).sum() / rank)


def metric_correlation(factor: np.ndarray, other: np.ndarray | None) -> float:
    """Cosine of A^T A and B^T B, A (m, d) and B (k, d), e.g. of a recursive feature machine; None for the identity."""
    size = np.linalg.norm(gram(factor))
    if other is None:
        return float(np.square(factor).sum() / (size * np.sqrt(factor.shape[1]))) if size > 0 else NAN
    size *= np.linalg.norm(gram(other))
    return float(np.square(factor @ other.T).sum() / size) if size > 0 else NAN
