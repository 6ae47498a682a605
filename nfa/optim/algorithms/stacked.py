"""Tensors whose axis 0 counts independent networks: norms of each, and numbers of each spread over a tensor."""

import torch
from torch import Tensor


def norms(tensor: Tensor, stacked: bool) -> Tensor:
    """Euclidean norm of all entries: a scalar, or (S,) where axis 0 counts networks.

    One reduction for each network, so that its bits do not depend on how many there are.
    """
    if stacked:
        return torch.stack([torch.linalg.vector_norm(own) for own in tensor.unbind(0)])
    norm: Tensor = torch.linalg.vector_norm(tensor)
    return norm


def along(values: Tensor, tensor: Tensor) -> Tensor:
    """Shape a scalar, or one number for each network (S,), so that it multiplies a tensor (S, ...)."""
    return values.reshape(values.shape + (1,) * (tensor.dim() - 1)) if values.dim() else values


def axes(tensor: Tensor, stacked: bool) -> int:
    """Axes of one network's parameter."""
    return tensor.dim() - int(stacked)
