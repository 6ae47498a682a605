"""How features lie towards the target: kernel alignment, and scatter within classes over scatter between them."""

import numpy as np

NAN = float("nan")


def kernel_alignment(features: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """A(K, Y Y^T) = <K, Y Y^T> / (|K| |Y Y^T|) of the features' kernel K = Phi Phi^T.

    For one output y^T K y / (|K| |y|^2) (Bordelon & Pehlevan, arXiv 2210.02157; Cristianini et al. 2001). Centred: the
    columns of Phi and Y first lose their means, which is Cortes, Mohri & Rostamizadeh's alignment (JMLR 2012, eq. 4)
    and linear CKA with the targets. Neither n x n matrix is formed where Phi has fewer columns:
    <K, Y Y^T> = |Phi^T Y|^2 and |K| = |Phi^T Phi|.

    Args:
        features: Phi, (n, m) float64.
        targets: Y, (n, C) float64.

    Returns:
        As it is, and centred; from 0 to 1, NaN where the kernel or the targets vanish.
    """
    if not np.isfinite(features).all():
        return NAN, NAN
    # Scaled after centring: a constant column of float32 numbers loses its mean exactly, its quotient only nearly.
    return _cosine(features, targets), _cosine(features - features.mean(axis=0), targets - targets.mean(axis=0))


def _cosine(features: np.ndarray, targets: np.ndarray) -> float:
    largest = np.abs(features).max(initial=0.0)
    if largest == 0:
        return NAN
    features = features / largest  # fourth powers follow
    size = np.linalg.norm(gram(features)) * np.linalg.norm(gram(targets))
    return float(np.square(features.T @ targets).sum() / size) if size > 0 else NAN


def gram(matrix: np.ndarray) -> np.ndarray:
    """Form the smaller of A^T A and A A^T, which have the same norm."""
    small: np.ndarray = matrix.T @ matrix if matrix.shape[1] <= len(matrix) else matrix @ matrix.T
    return small


def scatter_ratio(features: np.ndarray, labels: np.ndarray) -> float:
    """Scatter within classes over scatter between them: tr S_W / tr S_B.

    S_W = (1/n) sum_i (phi_i - mu_c(i))(...)^T, S_B = (1/n) sum_c n_c (mu_c - mu)(...)^T (Fisher; Papyan, Han & Donoho,
    arXiv 2008.08186, where it falls to 0). It changes neither with the features' scale nor with a rotation.

    Args:
        features: (n, m) float64.
        labels: (n,) class labels.

    Returns:
        0 or more; NaN where there is one class or all class means are equal, or features overflow.
    """
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(counts) < 2 or not np.isfinite(features).all():
        return NAN
    members = index == np.arange(len(counts))[:, None]
    means = members.astype(float) @ features / counts[:, None]
    between = (counts[:, None] * np.square(means - features.mean(axis=0))).sum()
    within = np.square(features - means[index]).sum()
    return float(within / between) if between > 0 else NAN
