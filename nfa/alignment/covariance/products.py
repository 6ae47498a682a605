"""Sums of J^T J: symmetric rank-k updates that compute one triangle, and number types that keep small eigenvalues.

J^T J is symmetric, so half of its entries suffice, but torch has no such product (BLAS ``syrk``). Here the product is
cut into strips of rows, each from the diagonal to the right. The number type matters, too: quantities at power 1/2 take
roots of eigenvalues, so an eigenvalue of 1e-7 of the largest, which is rounding in float32, would count for 3e-4.
"""

import torch
from torch import Tensor

# Rows in one strip. Products of this height still run at the machine's full rate (measured; faster than columns of this
# width), and the part that is computed twice, k * STRIP / 2 entries, is small beside k^2 / 2.
STRIP = 128
SMALL = 256  # up to this k strips of half the height are faster
SMALLEST, LARGEST = 1e-10, 1e10  # largest entry of rows: within, float32 also holds squares of 1e-18 of the largest
FEW_OUTPUTS = 4  # with so few rows per sample K can be nearly singular, and float64 costs little


def working_type(dtype: torch.dtype, outputs: int) -> torch.dtype:
    """Choose the number type in which J^T J is summed within a batch: float32, or float64 for few outputs.

    With few outputs K often has eigenvalues below float32's rounding, 1e-7 of the largest. Float32 rows that are summed
    in float64 give them up to the square of that rounding. Rows in float64 are always summed in float64.
    """
    if outputs <= FEW_OUTPUTS:
        return torch.float64
    return torch.promote_types(dtype, torch.float32)


def extreme(rows: Tensor) -> bool:
    """Tell whether squares of float32 rows could underflow or overflow, as in deep saturated networks."""
    if rows.dtype == torch.float64 or rows.numel() == 0:
        return False
    low, high = (bound.item() for bound in rows.aminmax())
    size = max(-low, high)
    return size != 0 and not SMALLEST < size < LARGEST


def resolution(rows: torch.dtype, working: torch.dtype) -> float:
    """Relative rounding of the eigenvalues of J^T J, for rows in one number type that are summed in another."""
    return max(torch.finfo(rows).eps ** 2, torch.finfo(working).eps)


def add_products_(total: Tensor, rows: Tensor, sign: int = 1) -> None:
    """Add rows^T rows to the upper triangle of ``total``; entries below it become meaningless.

    Args:
        total: (g, k, k).
        rows: (g, m, k), in the same number type.
        sign: 1 to add, -1 to subtract.
    """
    k = total.shape[-1]
    if len(total) > 1:
        total.baddbmm_(rows.mT, rows, alpha=sign)
        return
    matrix, columns = total[0], rows[0]
    height = STRIP if k > SMALL else STRIP // 2
    for start in range(0, k, height):
        end = min(start + height, k)
        matrix[start:end, start:].addmm_(columns[:, start:end].T, columns[:, start:], alpha=sign)


def mirrored_(total: Tensor) -> Tensor:
    """Copy the upper triangle of matrices (..., k, k) to the lower one, in place.

    >>> mirrored_(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
    tensor([[1., 2.],
            [2., 3.]])
    """
    k = total.shape[-1]
    for start in range(0, k, STRIP):
        end = min(start + STRIP, k)
        corner = total[..., start:end, start:end]
        corner.copy_(corner.triu() + corner.triu(1).mT)
        total[..., end:, start:end] = total[..., start:end, end:].mT
    return total


def symmetric(total: Tensor) -> Tensor:
    """Complete matrices (..., k, k) from their upper triangle, as a float64 copy on the CPU."""
    return mirrored_(total.to("cpu", torch.float64, copy=True))
