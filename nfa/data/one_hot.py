"""Code class labels as rows of targets."""

import numpy as np


def centred_one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Code (n,) integer labels as (n, C) float32 rows onehot - 1/C, whose entries sum to zero (the authors' code)."""
    codes: np.ndarray = (np.eye(classes)[labels] - 1.0 / classes).astype(np.float32)
    return codes
