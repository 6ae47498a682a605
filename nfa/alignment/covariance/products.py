"""Sums of J^T J: symmetric rank-k updates that compute one triangle."""

import torch
from torch import Tensor

# Rows in one strip: products of this height still run at the machine's full rate, and faster than products of this
# width (measured), and the part computed twice, k * STRIP / 2 entries, is small beside k^2 / 2.
STRIP = 128
SMALL = 256  # up to this k strips of half that height are faster
SMALLEST, LARGEST = 1e-10, 1e10  # of rows whose squares float32 holds beside squares 1e-18 of theirs
FEW_OUTPUTS = 4  # so few rows per sample that K can be nearly singular, and float64 costs little


def working_type(dtype: torch.dtype, outputs: int) -> torch.dtype:
    """Number type in which J^T J is summed within a batch: float32, or float64 for float64 and for few outputs.

    With few outputs K often has eigenvalues below float32's rounding, 1e-7 of the largest; at power 1/2 they would
    count for 3e-4. From float32 rows summed in float64 they are right to the square of that rounding.
    """
    if outputs <= FEW_OUTPUTS:
        return torch.float64
    return torch.promote_types(dtype, torch.float32)


def extreme(rows: Tensor) -> bool:
    """Whether products of float32 rows could vanish or overflow beside the largest: deep saturated networks do that."""
    if rows.dtype == torch.float64 or rows.numel() == 0:
        return False
    low, high = (bound.item() for bound in rows.aminmax())
    size = max(-low, high)
    return size != 0 and not SMALLEST < size < LARGEST


def resolution(rows: torch.dtype, working: torch.dtype) -> float:
    """Relative rounding of the eigenvalues of a sum of J^T J, for rows of one number type summed in another."""
    return max(torch.finfo(rows).eps ** 2, torch.finfo(working).eps)


def add_products_(total: Tensor, rows: Tensor, sign: int = 1) -> None:
    """Add rows^T rows to the upper triangle of ``total``; what is below it is then meaningless.

    Args:
        total: (g, k, k).
        rows: (g, m, k), in the same number type.
        sign: -1 subtracts.
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
    """Complete a matrix (..., k, k) from its upper triangle."""
    k = total.shape[-1]
    for start in range(0, k, STRIP):
        end = min(start + STRIP, k)
        corner = total[..., start:end, start:end]
        corner.copy_(corner.triu() + corner.triu(1).mT)
        total[..., end:, start:end] = total[..., start:end, end:].mT
    return total


def symmetric(total: Tensor) -> Tensor:
    """Complete a matrix (..., k, k) from its upper triangle, as a copy in float64 on the CPU."""
    return mirrored_(total.to("cpu", torch.float64, copy=True))
