"""A measurement leaves no trace on the network it measures."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from nfa.alignment.network.snapshot import Remembered
from nfa.errors import describe


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put a network into eval mode with autograd on; restore the network and the random state, whatever happens.

    Eval mode makes samples independent of each other (BatchNorm uses its running statistics, dropout is off). Every
    floating-point parameter requires gradients meanwhile, so that autograd follows frozen layers and fused fast paths
    stay off; no gradient is accumulated, they are only ever taken with ``torch.autograd.grad``. Matrix products on a
    GPU keep all 24 bits of float32. A ``torch.autocast`` of the caller's is off: a network is measured in the number
    type of its parameters, wherever it is called from. One that the network enters in its own forward pass is part of
    it; there weights are cast anew at every use: casts that are kept could not be told for weights.

    Restored are modes, buffers, parameters, the states of generators of random numbers, and every attribute of a
    module: set, replaced, or changed inside lists, dicts and sets; so no graph stays alive in what a forward pass
    stored. Parameters are copied for the first pass; afterwards only copies of those that it changed are kept, and of
    embeddings with ``max_norm``. Not restored: a parameter that only a later pass changes, what objects other than
    modules hold, and lazy modules, which the first pass initialises.
    """
    devices = _cuda(model)
    with (
        _modes(model),
        _following(model),
        _remembered(model),
        torch.random.fork_rng(devices=devices),
        torch.enable_grad(),
        _full_precision(bool(devices)),
        _own_type(model),
    ):
        yield


def _cuda(model: nn.Module) -> list[int]:
    """Devices of a network that have random states of their own."""
    used = {p.device.index for p in model.parameters() if p.device.type == "cuda" and p.device.index is not None}
    return sorted(used)


@contextmanager
def _remembered(model: nn.Module) -> Iterator[None]:
    """Put back what the network holds."""
    remembered = Remembered(model)
    try:
        yield
    finally:
        remembered.restore()


@contextmanager
def _modes(model: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, and every module of it back into its own.

    Raises:
        ValueError: It has no eval mode.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        try:
            model.eval()
        except NotImplementedError as error:
            raise ValueError(
                "the network is a program made by torch.export, which has no eval mode: pass the network that it was "
                f"made of ({describe(error)})"
            ) from error
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _following(model: nn.Module) -> Iterator[None]:
    """Let every floating-point parameter require gradients."""
    frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_()
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


@contextmanager
def _own_type(model: nn.Module) -> Iterator[None]:
    """Keep the caller's ``torch.autocast`` out, and the network's own from using casts of weights made before."""
    enabled = torch.is_autocast_cache_enabled()
    devices = {"cpu", *(p.device.type for p in model.parameters())} - {"meta"}
    try:
        with ExitStack() as stack:
            for device in sorted(devices):
                stack.enter_context(torch.autocast(device, enabled=False))
            torch.set_autocast_cache_enabled(False)
            yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


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
