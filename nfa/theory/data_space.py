"""C-NFC(0+) in data space: from a layer's inputs, the residuals, and the Gram matrix of its tangent features alone.

C-NFC(0+) is the limit of C-NFC at initialisation: at step 0 the change of W is zero and C-NFC is 0/0, but along
gradient flow the change at a small time t is t Wdot, and the scale t does not change a correlation. So C-NFC(0+) is the
correlation of Wdot^T Wdot with Wdot^T K0 Wdot, with the velocity Wdot = -dL/dW and K0 at initialisation.

Let X (n, d) be the layer's inputs, J (n, k) its pre-activation tangent features df/dh, kappa = J J^T their Gram matrix
(of the pre-activation tangent kernel), and D = diag(dl/df). For a scalar output dL/dW = J^T D X / n and K0 = J^T J / n,
hence for gradient flow [derived]

    Wdot^T Wdot = X^T D kappa D X / n^2        Wdot^T K0 Wdot = X^T D kappa^2 D X / n^3

The same formulas hold for several outputs and positions, and for weights that are used several times [derived]. Every
use r = (sample, output, position, use) of the weight gets one row: x_r is the input of this use, J_r the derivative of
the output by the pre-activations that this use computes, and D_r the derivative of the sample's loss by the output.
Then dL/dW = (1/n) sum_r D_r J_r^T x_r and K0 = (1/n) sum_r J_r^T J_r are the same sums over more rows; n stays the
number of samples. The memory grows with the square of the rows, because kappa is (rows, rows).

The network's output enters through kappa and D only, and its architecture through kappa only. The alignment at the
start is therefore one between the geometry of the data, weighted by the residuals, and the kernel.
"""

import torch
from torch import Tensor

from nfa.alignment import power_middle
from nfa.alignment.quantities.feature_matrix import correlations
from nfa.alignment.quantities.values import Value


def start_matrices(inputs: Tensor, residuals: Tensor, gram: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Compute the two matrices that C-NFC(0+) correlates.

    Args:
        inputs: X, (rows, d).
        residuals: Diagonal of D, (rows,): dl/df of each row's sample and output. For the mean of squared errors over n
            samples and C outputs it is 2 (f - y) / C.
        gram: kappa, (rows, rows): inner products of the rows of J.
        n: Number of samples; equals the number of rows for a scalar output and one position.

    Returns:
        Wdot^T Wdot and Wdot^T K0 Wdot, (d, d) float64.
    """
    weighted, kappa = _weighted(inputs, residuals), gram.double()
    product = kappa @ weighted
    return weighted.T @ product / n**2, product.T @ product / n**3


def limit_in_data_space(inputs: Tensor, residuals: Tensor, gram: Tensor, exponent: float = 1.0) -> dict[str, Value]:
    """Compute C-NFC(0+) of a layer for gradient flow.

    The algebra is that of k-space, with kappa^1/2 D X in place of Wdot and kappa in place of K0.

    Args:
        inputs: X, (rows, d).
        residuals: Diagonal of D, (rows,).
        gram: kappa, (rows, rows).
        exponent: Power s of the second matrix.

    Returns:
        Correlation name -> value; NaN with a reason if it is undefined.
    """
    weighted, kappa = _weighted(inputs, residuals), gram.double()
    values, vectors = torch.linalg.eigh(kappa)
    velocity = (vectors * values.clamp(min=0).sqrt()) @ (vectors.T @ weighted)
    return correlations(velocity, power_middle(velocity, kappa, exponent))


def _weighted(inputs: Tensor, residuals: Tensor) -> Tensor:
    """Compute D X in float64."""
    return residuals.double()[:, None] * inputs.double()
