"""C-NFC(0+) in data space: from a layer's inputs, residuals and the Gram matrix of its tangent features alone.

With X (n, d) the layer's inputs, J (n, k) its pre-activation tangent features df/dh, kap = J J^T their Gram matrix (the
PTK's) and D = diag(dl/df), a scalar output has dL/dW = J^T D X / n and K0 = J^T J / n. So, for gradient flow [derived]

    Wdot^T Wdot = X^T D kap D X / n^2        Wdot^T K0 Wdot = X^T D kap^2 D X / n^3

It holds as it stands for several outputs and positions, and for weights that are used several times [derived]: give one
row to every use r = (sample, output, position, use) of the weight, with the input x_r that is read there, J_r the
derivative of that output by what that use computes, and D_r the derivative of that sample's loss by that output. Then
dL/dW = (1/n) sum_r D_r J_r^T x_r and K0 = (1/n) sum_r J_r^T J_r are the same sums over more rows; n stays the number of
samples. What it costs is memory: kap is (rows, rows).

A network's output matters through kap and D only, and its architecture through kap only: alignment at the start is
between the data's geometry, weighted by the residual, and the kernel.
"""

import torch
from torch import Tensor

from nfa.alignment import power_middle
from nfa.alignment.quantities.feature_matrix import correlations
from nfa.alignment.quantities.values import Value


def start_matrices(inputs: Tensor, residuals: Tensor, gram: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Both matrices that C-NFC(0+) correlates.

    Args:
        inputs: X, (rows, d).
        residuals: Diagonal of D, (rows,): dl/df of each row's sample and output; for the mean of squared errors over n
            samples and C outputs, 2 (f - y) / C.
        gram: kap, (rows, rows): inner products of the rows of J.
        n: Samples; the number of rows for a scalar output and one position.

    Returns:
        Wdot^T Wdot and Wdot^T K0 Wdot, (d, d) float64.
    """
    weighted, kap = _weighted(inputs, residuals), gram.double()
    product = kap @ weighted
    return weighted.T @ product / n**2, product.T @ product / n**3


def limit_in_data_space(inputs: Tensor, residuals: Tensor, gram: Tensor, exponent: float = 1.0) -> dict[str, Value]:
    """C-NFC(0+) of a layer for gradient flow.

    With kap^1/2 D X in the place of Wdot, and kap in that of K0, it is the k-space algebra.

    Args:
        inputs: X, (rows, d).
        residuals: Diagonal of D, (rows,).
        gram: kap, (rows, rows).
        exponent: Power s of the second matrix.

    Returns:
        Correlation name -> value; NaN with its reason where it is undefined.
    """
    weighted, kap = _weighted(inputs, residuals), gram.double()
    values, vectors = torch.linalg.eigh(kap)
    velocity = (vectors * values.clamp(min=0).sqrt()) @ (vectors.T @ weighted)
    return correlations(velocity, power_middle(velocity, kap, exponent))


def _weighted(inputs: Tensor, residuals: Tensor) -> Tensor:
    """D X in float64."""
    return residuals.double()[:, None] * inputs.double()
