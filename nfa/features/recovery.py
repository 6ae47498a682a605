"""Compare a layer's metric with the directions that the target depends on, for data whose directions are known.

The target depends on x through U^T x alone, U (d, r) with orthonormal columns, and its own average gradient outer
product is U T U^T. The metric A = B^T B is given by a factor B = M^1/2 W (k, d), M = I for the NFM and K for
the AGOP, and is never formed. The trace share of a random metric is about r / d.
"""

import numpy as np

from nfa.features.kernel import root
from nfa.features.moments import gram

NAN = float("nan")


def recovery(factor: np.ndarray, directions: np.ndarray, target_agop: np.ndarray | None = None) -> dict[str, float]:
    """Compare the metric A = B^T B of a first layer with the known directions.

    Args:
        factor: B, (m, d): W for the NFM, K^1/2 W for the AGOP (``metric_factor`` gives both, scaled).
        directions: U, (d, r) with orthonormal columns.
        target_agop: T, (r, r), the target's AGOP in the basis of the directions; None if it is not known.

    Returns:
        ``trace_share``: tr(U^T A U) / tr A. ``overlap``: |V^T U|_F^2 / r for the r leading eigenvectors V of A.
        ``target_correlation``, with a target AGOP: cosine of A and U T U^T. All are NaN if A is zero, the
        overlap also if the rank of A is below r.

    Example:
        >>> found = recovery(np.diag([2.0, 1.0, 0.0]), np.eye(3)[:, :1])
        >>> round(found["trace_share"], 6), found["overlap"]
        (0.8, 1.0)
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
    """Compute the cosine of A^T A and B^T B for factors A (m, d) and B (k, d); ``other`` None stands for B = I."""
    size = np.linalg.norm(gram(factor))
    if other is None:
        return float(np.square(factor).sum() / (size * np.sqrt(factor.shape[1]))) if size > 0 else NAN
    size *= np.linalg.norm(gram(other))
    return float(np.square(factor @ other.T).sum() / size) if size > 0 else NAN
