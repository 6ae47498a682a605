"""Scores of features that need no fit: kernel alignment with the target, and scatter within over between classes."""

import numpy as np

from nfa.features.moments import Moments, gram

NAN = float("nan")


def kernel_alignment(features: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Compute the alignment <K, Y Y^T> / (|K| |Y Y^T|) of the features' kernel K = Phi Phi^T with the target's.

    For one output it is y^T K y / (|K| |y|^2) (Bordelon & Pehlevan, arXiv 2210.02157; Cristianini et al. 2001). Centred
    means that the columns of Phi and Y first lose their means: the alignment of Cortes, Mohri & Rostamizadeh (JMLR
    2012, eq. 4), which is linear CKA with the targets. The n x n matrices are not formed if Phi has fewer columns:
    <K, Y Y^T> = |Phi^T Y|^2 and |K| = |Phi^T Phi|.

    Args:
        features: Phi, (n, m) float64.
        targets: Y, (n, C) float64.

    Returns:
        The alignment and the centred alignment, from 0 to 1; NaN if the kernel or the targets vanish.

    Example:
        >>> kernel_alignment(np.array([[1.0], [-1.0]]), np.array([[2.0], [-2.0]]))
        (1.0, 1.0)
    """
    if not np.isfinite(features).all():
        return NAN, NAN
    return alignment_of_moments(Moments.of(features, targets))


def alignment_of_moments(moments: Moments) -> tuple[float, float]:
    """Compute the alignment and the centred alignment of ``kernel_alignment`` from products that are known."""
    targets = moments.targets
    uncentred = _cosine(*moments.uncentred(), targets + moments.target_mean)
    return uncentred, _cosine(moments.gram, moments.cross, targets)


def _cosine(product: np.ndarray, cross: np.ndarray, targets: np.ndarray) -> float:
    largest = np.abs(product).max(initial=0.0)
    if largest == 0:
        return NAN
    size = np.linalg.norm(product / largest) * np.linalg.norm(gram(targets))  # squares of the product could overflow
    return float(np.square(cross).sum() / largest / size) if size > 0 else NAN


def scatter_ratio(features: np.ndarray, labels: np.ndarray) -> float:
    """Compute the scatter within classes over the scatter between classes, tr S_W / tr S_B.

    S_W = (1/n) sum_i (phi_i - mu_c(i))(...)^T and S_B = (1/n) sum_c n_c (mu_c - mu)(...)^T (Fisher; Papyan, Han &
    Donoho, arXiv 2008.08186: it falls to 0 in neural collapse). Scaling or rotating the features does not change it.

    Args:
        features: (n, m) float64.
        labels: (n,) class labels.

    Returns:
        A number of at least 0; NaN if there is one class, all class means are equal, or features are not finite.
    """
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(counts) < 2 or not np.isfinite(features).all():
        return NAN
    members = index == np.arange(len(counts))[:, None]
    means = members.astype(float) @ features / counts[:, None]
    between = (counts[:, None] * np.square(means - features.mean(axis=0))).sum()
    apart = features - means[index]
    within = np.vdot(apart, apart)
    return float(within / between) if between > 0 else NAN
