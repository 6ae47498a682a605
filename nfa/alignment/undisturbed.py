"""A measurement leaves no trace on the network it measures."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put a network into eval mode with autograd on; restore modes, buffers and random state, whatever happens.

    Eval mode makes samples independent of each other (BatchNorm uses its running statistics, dropout is off). Every
    floating-point parameter requires gradients meanwhile, so that autograd follows frozen layers and fused fast paths
    stay off; no gradient is accumulated, they are only ever taken with ``torch.autograd.grad``. Matrix products on a
    GPU keep all 24 bits of float32.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in modes
        for name, buffer in module.named_buffers(recurse=False)
    ]
    frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    devices = sorted(
        {p.device.index for p in model.parameters() if p.device.type == "cuda" and p.device.index is not None}
    )
    try:
        model.eval()
        with torch.random.fork_rng(devices=devices), torch.enable_grad(), _full_precision(bool(devices)):
            for parameter in frozen:
                parameter.requires_grad_()
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                buffer.copy_(value)
                setattr(module, name, buffer)  # a forward pass may have put another tensor in its place


@contextmanager
def _full_precision(cuda: bool) -> Iterator[None]:
    """Keep TensorFloat-32, with its 11 bits, out of matrix products and convolutions on a GPU."""
    if not cuda:
        yield
        return
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
