"""A measurement leaves no trace on the network it measures."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put a network into eval mode with autograd on; restore mode, buffers and random state, whatever happens.

    Eval mode makes samples independent of each other (BatchNorm uses its running statistics, dropout is off). Gradients
    are not touched: they are only ever taken with ``torch.autograd.grad``.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in modes
        for name, buffer in module.named_buffers(recurse=False)
    ]
    devices = sorted(
        {p.device.index for p in model.parameters() if p.device.type == "cuda" and p.device.index is not None}
    )
    try:
        model.eval()
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                buffer.copy_(value)
                setattr(module, name, buffer)  # a forward pass may have put another tensor in its place
