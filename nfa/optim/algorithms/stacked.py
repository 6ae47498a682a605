"""Helpers for tensors whose axis 0 counts S independent networks that are trained together."""

import torch
from torch import Tensor


def norms(tensor: Tensor, stacked: bool) -> Tensor:
    """Return the Euclidean norm of all entries: a scalar, or (S,) where axis 0 counts networks.

    Each network has a reduction of its own, so that its bits do not depend on the number of networks.
    """
    if stacked:
        return torch.stack([torch.linalg.vector_norm(network) for network in tensor.unbind(0)])
    norm: Tensor = torch.linalg.vector_norm(tensor)
    return norm


def along(values: Tensor, tensor: Tensor) -> Tensor:
    """Reshape a scalar, or one number per network (S,), so that it can multiply a tensor (S, ...)."""
    return values.reshape(values.shape + (1,) * (tensor.dim() - 1)) if values.dim() else values


def axes(tensor: Tensor, stacked: bool) -> int:
    """Return the number of axes of one network's parameter."""
    return tensor.dim() - int(stacked)
